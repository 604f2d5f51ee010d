//! The copy of a replica directory that loses power, or a system call, at each of its steps: at every instant
//! the target is what it was, or what the source is, or says that it is being rebuilt.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use lacuna::Cancel;
use lacuna::copy::CopyOptions;
use lacuna_sync::Result;
use lacuna_sync::replica::{Place, ReplicaOptions, ReplicaStats, sync};
use lacuna_sync::v2::{Reach, Remote, SyncOptions};
use lacuna_testing::Steps::{Every, Sampled};
use lacuna_testing::mount::{Fs, Mount};
use lacuna_testing::pattern::{Block, Pattern};
use lacuna_testing::replica::{Replica, snapshot};
use rustix::fs::{FlockOperation, syncfs};

use crate::content::Content;
use crate::peer::Server;
use crate::steps::Steps;

/// What the files of a directory hold: images with their kinds, the others as text.
type Held = BTreeMap<String, (Option<Vec<lacuna_testing::pattern::Kind>>, Vec<u8>)>;

fn held(directory: &Path) -> Option<Held> {
    let mut held = Held::new();
    for entry in fs::read_dir(directory).ok()? {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("UTF-8");
        let found = match name.ends_with(".img") {
            true => {
                let content = Content::of(&entry.path());
                (Some(content.kinds), content.bytes)
            }
            false => (None, fs::read(entry.path()).expect("read")),
        };
        held.insert(name, found);
    }
    Some(held)
}

fn visible(mut held: Held) -> Held {
    held.retain(|name, _| !name.starts_with('.'));
    held
}

/// The replica that is copied.
fn newer() -> Replica {
    use Block::{Data, Hole, Zero};
    Replica::line(vec![
        Pattern::whole(vec![Data(1), Zero, Hole, Data(2)]),
        Pattern::whole(vec![Hole, Data(3), Zero, Hole, Data(4)]),
        Pattern::whole(vec![Data(5), Hole, Hole, Hole, Hole, Data(6)]),
    ])
}

/// What is there before: the oldest layer is the same, one is another, one is gone, and the head has another name.
fn older() -> Replica {
    use Block::{Data, Hole, Zero};
    let mut older = newer();
    older.layers[1].pattern = Pattern::whole(vec![Data(9), Data(3), Zero]);
    older.layers[2].pattern = Pattern::whole(vec![Zero, Data(7), Hole, Hole, Hole]);
    older.layers[2].file = "volume-head-001.img".to_owned();
    older.head = "volume-head-001.img".to_owned();
    let mut gone = older.layers[0].clone();
    gone.file = snapshot("gone");
    older.layers.push(gone);
    older
}

struct Scenario {
    mount: Mount,
    _sources: Mount,
    source: PathBuf,
    target: PathBuf,
    had: Option<Held>,
    wanted: Held,
    before: Option<Replica>,
    is_served: bool,
}

impl Scenario {
    fn new(fs: Fs, before: Option<Replica>, is_served: bool) -> Option<Self> {
        let (sources, mount) = (Mount::new(Fs::Ext4)?, Mount::new(fs)?);
        let (source, target) = (sources.path().join("replica"), mount.path().join("replica"));
        fs::create_dir(&source).expect("make a directory");
        newer().write(&source);
        let wanted = held(&source).expect("files");
        Some(Self {
            mount,
            _sources: sources,
            source,
            target,
            had: None,
            wanted,
            before,
            is_served,
        })
    }

    fn prepare(&mut self) {
        if self.target.exists() {
            fs::remove_dir_all(&self.target).expect("remove the directory");
        }
        if let Some(before) = &self.before {
            fs::create_dir(&self.target).expect("make a directory");
            before.write(&self.target);
            // Of a layer that goes: with a mark of its own, which nobody asks for.
            let mark = format!(".{}.lacuna-unfinished", snapshot("gone"));
            fs::write(self.target.join(mark), "").expect("write");
        }
        self.had = held(&self.target).map(visible);
        syncfs(File::open(self.mount.path()).expect("open")).expect("sync");
    }

    fn run(&self) -> Result<ReplicaStats> {
        let server = self.is_served.then(|| {
            Server::with(self.mount.path(), |options| {
                options.threads = 1;
            })
        });
        let target = match &server {
            Some(server) => Place::There(Remote {
                reach: Reach::Tcp(server.address.to_string()),
                path: b"replica".to_vec(),
                token: None,
                insecure: false,
            }),
            None => Place::Here(self.target.clone()),
        };
        let options = ReplicaOptions {
            copy: CopyOptions { threads: 1, ..CopyOptions::default() },
            sync: SyncOptions { threads: 1, ..SyncOptions::default() },
            force: false,
        };
        let source = Place::Here(self.source.clone());
        let copied = sync(&source, &target, &options, &Arc::default(), &Cancel::default());
        copied.map_err(|stopped| *stopped.cause)
    }

    /// After a copy that may have been disturbed.
    #[track_caller]
    fn check(&self, ended: &Result<ReplicaStats>, what: &str) {
        let now = held(&self.target);
        let is_wanted = now.as_ref() == Some(&self.wanted);
        assert!(ended.is_err() || is_wanted, "{what}: said to be done");
        let Some(now) = now else {
            assert!(self.had.is_none(), "{what}: the target is gone");
            return;
        };
        let Some((_, volume)) = now.get("volume.meta") else {
            assert!(self.had.is_none(), "{what}: volume.meta is gone");
            assert!(now.keys().all(|name| name.starts_with('.')), "{what}: {:?}", now.keys());
            return;
        };
        let volume: serde_json::Value = serde_json::from_slice(volume).expect(what);
        let now = visible(now);
        let is_old = self.had.as_ref() == Some(&now);
        let is_new = now == self.wanted;
        assert!(volume["Rebuilding"] == true || is_old || is_new, "{what}: neither old nor new");
    }

    #[track_caller]
    fn check_done(&self, ended: &Result<ReplicaStats>, what: &str) {
        assert!(ended.is_ok(), "{what}: {ended:?}");
        let now = held(&self.target).expect(what);
        let names: Vec<_> = now.keys().collect();
        assert!(now == self.wanted, "{what}: {names:?}");
    }
}

fn cut_everywhere(fs: Fs, before: Option<Replica>, is_served: bool, which: lacuna_testing::Steps) {
    let steps = Steps::take();
    let Some(mut scenario) = Scenario::new(fs, before, is_served) else { return };
    scenario.prepare();
    let passed = steps.passed(|| scenario.check_done(&scenario.run(), "undisturbed"));
    for number in which.of(&passed) {
        let what = format!("power cut at {number} of {}, {}", passed.len(), passed[number]);
        scenario.prepare();
        steps.at(number, scenario.mount.power_cutter());
        let ended = scenario.run();
        steps.clear();
        scenario.mount.remount();
        scenario.check(&ended, &what);
        scenario.check_done(&scenario.run(), &format!("{what}: the second time"));
    }
}

#[test]
fn a_new_replica_survives_a_power_cut_at_every_step() {
    cut_everywhere(Fs::Ext4, None, false, Sampled);
}

#[test]
fn an_older_replica_survives_a_power_cut_at_every_step() {
    cut_everywhere(Fs::Ext4, Some(older()), false, Every);
    cut_everywhere(Fs::Xfs, Some(older()), false, Sampled);
}

#[test]
fn a_replica_behind_a_server_survives_a_power_cut_at_every_step() {
    cut_everywhere(Fs::Ext4, Some(older()), true, Sampled);
    cut_everywhere(Fs::Xfs, None, true, Sampled);
}

#[test]
fn a_system_call_that_fails_anywhere_leaves_a_replica_that_tells() {
    let steps = Steps::take();
    for is_served in [false, true] {
        let Some(mut scenario) = Scenario::new(Fs::Ext4, Some(older()), is_served) else { return };
        scenario.prepare();
        let passed = steps.passed(|| scenario.check_done(&scenario.run(), "undisturbed"));
        for (number, point) in passed.iter().enumerate() {
            let what = format!("no space at {number} of {}, {point}", passed.len());
            let times = passed[..number].iter().filter(|passed| *passed == point).count();
            scenario.prepare();
            steps.fail(point, times, 28, true);
            let ended = scenario.run();
            steps.clear();
            scenario.check(&ended, &what);
            scenario.check_done(&scenario.run(), &format!("{what}: the second time"));
        }
    }
}

/// What another copy does that begins now, if this one lets it: the number of a rebuild in `volume.meta`.
fn overtake(target: &Path) -> Option<Held> {
    let volume = target.join("volume.meta");
    let file = File::options().read(true).write(true).open(&volume).ok()?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
    let text = fs::read_to_string(&volume).expect("volume.meta");
    let mut value: serde_json::Value = serde_json::from_str(&text).ok()?;
    // Before the first copy has begun, it comes second; behind its end, it is too late.
    value.get("LacunaRebuild")?;
    value["LacunaRebuild"] = "another".into();
    let draft = target.join("other");
    fs::write(&draft, value.to_string()).expect("write");
    fs::rename(&draft, &volume).expect("rename");
    held(target)
}

#[test]
fn a_copy_that_another_overtakes_at_any_step_writes_no_more() {
    let steps = Steps::take();
    for is_served in [false, true] {
        let Some(mut scenario) = Scenario::new(Fs::Ext4, Some(older()), is_served) else { return };
        scenario.prepare();
        let passed = steps.passed(|| scenario.check_done(&scenario.run(), "undisturbed"));
        let mut overtaken = 0;
        for (number, point) in passed.iter().enumerate() {
            let what = format!("overtaken at {number} of {}, {point}", passed.len());
            scenario.prepare();
            let (target, found) = (scenario.target.clone(), Arc::new(Mutex::new(None)));
            let finds = found.clone();
            steps.at(number, move || *finds.lock().expect("a lock") = overtake(&target));
            let ended = scenario.run();
            steps.clear();
            let found = found.lock().expect("a lock").take();
            match found {
                Some(found) => {
                    overtaken += 1;
                    assert!(ended.is_err(), "{what}");
                    assert!(held(&scenario.target) == Some(found), "{what}: written all the same");
                }
                None => scenario.check_done(&ended, &what),
            }
        }
        // Its writes are where others are kept out.
        assert!(overtaken < passed.len() / 2, "{overtaken} of {}: {passed:?}", passed.len());
    }
}

/// A snapshot that is taken meanwhile changes what describes the layers, and one that is merged the images.
#[test]
fn a_source_that_changes_behind_the_beginning_leaves_a_target_that_says_so() {
    let steps = Steps::take();
    for is_served in [false, true] {
        let Some(mut scenario) = Scenario::new(Fs::Ext4, Some(older()), is_served) else { return };
        scenario.prepare();
        let passed = steps.passed(|| scenario.check_done(&scenario.run(), "undisturbed"));
        let (base, meta) = (snapshot("s0"), format!("{}.meta", snapshot("s0")));
        for name in [base, meta] {
            scenario.prepare();
            let path = scenario.source.join(&name);
            let text = fs::read(&path).expect("read");
            let (changed, longer) = (path.clone(), [&text[..], b"\n"].concat());
            steps.at(passed.len() / 4, move || fs::write(&changed, &longer).expect("write"));
            let error = scenario.run().expect_err(&name);
            steps.clear();
            assert!(lacuna::describe(&error).contains("changed"), "{name}: {error:?}");
            let volume = fs::read_to_string(scenario.target.join("volume.meta")).expect("read");
            assert!(volume.contains("\"Rebuilding\":true"), "{name}: {volume}");
            fs::write(&path, &text).expect("write");
        }
    }
}
