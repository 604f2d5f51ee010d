use std::time::Instant;

use super::*;

#[test]
fn a_link_that_is_dropped_leaves_no_task_behind() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (here, there) = tokio::io::duplex(1024);
    let options = LinkOptions { last_words: Duration::from_millis(10), ..LinkOptions::default() };
    let link = runtime.block_on(async { Link::new(here, &options, &Cancel::default()) });
    drop(link);
    drop(there);
    let begun = Instant::now();
    while runtime.metrics().num_alive_tasks() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(10), "a task goes on");
        std::thread::sleep(POLL);
    }
}
