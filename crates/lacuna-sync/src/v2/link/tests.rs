use std::time::Instant;

use super::*;

#[test]
fn a_link_that_is_dropped_leaves_no_task_behind() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (here, there) = tokio::io::duplex(1024);
    let options = LinkOptions { last_words: Duration::from_millis(10), ..LinkOptions::default() };
    let link =
        runtime.block_on(async { Link::new(here, &options, Arc::default(), &Cancel::default()) });
    drop(link);
    drop(there);
    let begun = Instant::now();
    while runtime.metrics().num_alive_tasks() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(10), "a task goes on");
        std::thread::sleep(POLL);
    }
}

#[test]
fn a_directory_and_what_is_in_it_are_called_otherwise() {
    let alias = |path: &str, shown: &str| Alias { path: path.to_owned(), shown: shown.to_owned() };
    let (sub, top) = (alias("/proc/self/fd/7/", "sub/"), alias("/proc/self/fd/7/", ""));
    for (words, in_sub, at_top) in [
        (
            "cannot open /proc/self/fd/7/a.img: no",
            "cannot open sub/a.img: no",
            "cannot open a.img: no",
        ),
        ("cannot sync /proc/self/fd/7: no", "cannot sync sub: no", "cannot sync .: no"),
        ("cannot list /proc/self/fd/7", "cannot list sub", "cannot list ."),
        (
            "/proc/self/fd/71/a /proc/self/fd/7/b",
            "/proc/self/fd/71/a sub/b",
            "/proc/self/fd/71/a b",
        ),
        ("nothing", "nothing", "nothing"),
    ] {
        assert_eq!((&*sub.applied(words), &*top.applied(words)), (in_sub, at_top));
        assert_eq!(Alias::default().applied(words), words);
        assert_eq!(alias("/", "").applied(words), words);
    }
}
