//! Disks that take their time, at either end.

use std::time::Duration;

use lacuna_testing::mount::{Fs, Mount};
use lacuna_testing::pattern::Block::{Data, Hole, Zero};
use lacuna_testing::pattern::{Block, Pattern};

use crate::pair::{Wiring, session};
use crate::steps::Steps;

/// For how long nobody works before a session is given up.
const STANDSTILL: Duration = Duration::from_secs(1);

fn every_other(blocks: [Block; 2], count: usize) -> Option<Pattern> {
    Some(Pattern::whole(blocks.repeat(count)))
}

/// Each step takes a while, and all that are for one message take longer than a standstill.
#[test]
fn a_disk_that_is_slow_is_no_standstill() {
    let _steps = Steps::take();
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let [source, target] = ["a.img", "b.img"].map(|name| mount.path().join(name));
    let mut wiring = Wiring::default();
    (wiring.source.threads, wiring.target.threads) = (1, 1);
    (wiring.link.alive, wiring.link.standstill) = (Duration::from_millis(50), STANDSTILL);
    // Each is read by itself.
    let far_apart = || Some(Pattern::whole([&[Data(1)][..], &[Hole; 31]].concat().repeat(16)));
    for (point, takes, image, before) in [
        ("image.read", 150, far_apart(), far_apart()),
        ("image.write", 150, every_other([Data(1), Hole], 16), None),
        ("image.punch", 150, every_other([Data(1), Hole], 16), every_other([Data(1), Data(1)], 16)),
        ("image.zero", 150, every_other([Data(1), Zero], 16), every_other([Data(1), Hole], 16)),
        // One call, in which nothing shows.
        ("image.sync", 2500, every_other([Data(1), Hole], 16), None),
    ] {
        for (path, pattern) in [(&source, image), (&target, before)] {
            // There may be none from the one before.
            let _ = std::fs::remove_file(path);
            pattern.iter().for_each(|pattern| pattern.write(path));
        }
        fail::cfg(point, &format!("sleep({takes})")).unwrap();
        let ended = session(&source, &target, &wiring);
        fail::remove(point);
        assert!(ended.took > 2 * STANDSTILL, "{point}: {:?} shows nothing", ended.took);
        assert!(ended.sent.is_ok(), "{point}: {:?}", ended.sent);
        ended.assert_done();
    }
}

#[test]
fn throwing_a_large_part_away_is_no_standstill() {
    let _steps = Steps::take();
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let [source, target] = ["a.img", "b.img"].map(|name| mount.path().join(name));
    let image = Pattern::whole(vec![Data(1); 16]);
    image.write(&source);
    image.write(&mount.path().join(".b.img.lacuna-data"));
    let mut wiring = Wiring::default();
    wiring.target.no_resume = true;
    (wiring.link.alive, wiring.link.standstill) = (Duration::from_millis(50), STANDSTILL);
    fail::cfg("image.truncate", "sleep(2500)").unwrap();
    let ended = session(&source, &target, &wiring);
    fail::remove("image.truncate");
    assert!(ended.took > 4 * STANDSTILL, "{:?} shows nothing", ended.took);
    ended.assert_done();
}
