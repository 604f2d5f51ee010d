//! Copies of replica directories: here, to a server, and from one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lacuna::chain::ChainError;
use lacuna::{Cancel, Progress};
use lacuna_sync::replica::{self, Place, ReplicaOptions, ReplicaPlan, ReplicaStats, plan};
use lacuna_sync::v2::{Dry, LinkOptions, Reach, Remote, ServeOptions};
use lacuna_sync::{Error, Result};
use lacuna_testing::mount::{Fs, Mount, MountOptions};
use lacuna_testing::pattern::{Block, Kind, Pattern, pair_strategy};
use lacuna_testing::replica::{Meta, Replica, leave_leftovers, snapshot};
use lacuna_wire::{Ask, ClientHello, Message, Role, Verb};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::content::Content;
use crate::for_all;
use crate::image::record;
use crate::peer::{Server, hello};

/// What the files of a directory hold: images with their kinds, the others as text.
pub(crate) type Held = BTreeMap<String, (Option<Vec<Kind>>, Vec<u8>)>;

pub(crate) fn held(directory: &Path) -> Held {
    let mut held = Held::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let found = match name.ends_with(".img") {
            true => {
                let content = Content::of(&path);
                (Some(content.kinds), content.bytes)
            }
            false => (None, fs::read(&path).unwrap()),
        };
        held.insert(name, found);
    }
    held
}

/// Which way a copy goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Local,
    Push,
    Pull,
}

fn sync(source: &Place, target: &Place, options: &ReplicaOptions) -> Result<ReplicaStats> {
    let copied = replica::sync(source, target, options, &Arc::default(), &Cancel::default());
    copied.map_err(|stopped| *stopped.cause)
}

/// Two directories on one filesystem.
pub(crate) struct Two {
    mount: Mount,
    pub(crate) source: PathBuf,
    pub(crate) target: PathBuf,
}

impl Two {
    pub(crate) fn on(fs: Fs) -> Option<Self> {
        let mount = Mount::new(fs)?;
        let (source, target) = (mount.path().join("a"), mount.path().join("b"));
        Some(Self { mount, source, target })
    }

    pub(crate) fn write(&self, replica: &Replica, directory: &Path) {
        // Removed files stay removed.
        let _ = fs::remove_dir_all(directory);
        fs::create_dir(directory).unwrap();
        replica.write(directory);
    }

    /// Between which places, and the server that is asked.
    pub(crate) fn places(&self, way: Way) -> (Place, Place, Option<Server>) {
        let here = |path: &Path| Place::Here(path.to_owned());
        let server = (way != Way::Local).then(|| {
            // Who waits for a lock says nothing for a while.
            let patient = |options: &mut ServeOptions| options.link = LinkOptions::default();
            Server::with(self.mount.path(), patient)
        });
        let there = |name: &str| {
            let address = server.as_ref().unwrap().address.to_string();
            let (reach, path) = (Reach::Tcp(address), name.as_bytes().to_vec());
            Place::There(Remote { reach, path, token: None, insecure: false })
        };
        let (source, target) = match way {
            Way::Local => (here(&self.source), here(&self.target)),
            Way::Push => (here(&self.source), there("b/")),
            Way::Pull => (there("a/"), here(&self.target)),
        };
        (source, target, server)
    }

    fn sync_with(&self, way: Way, options: &ReplicaOptions) -> Result<ReplicaStats> {
        let (source, target, _server) = self.places(way);
        sync(&source, &target, options)
    }

    pub(crate) fn sync(&self, way: Way) -> Result<ReplicaStats> {
        self.sync_with(way, &ReplicaOptions::default())
    }

    fn plan(&self, way: Way, dry: Dry) -> Result<ReplicaPlan> {
        let (source, target, _server) = self.places(way);
        let options = ReplicaOptions::default();
        plan(&source, &target, dry, &options, &Arc::new(Progress::default()), &Cancel::default())
    }

    #[track_caller]
    pub(crate) fn assert_same(&self) {
        let (source, target) = (held(&self.source), held(&self.target));
        let names: Vec<_> = target.keys().collect();
        assert!(source == target, "{names:?}");
    }
}

pub(crate) const WAYS: [Way; 3] = [Way::Local, Way::Push, Way::Pull];

pub(crate) fn small() -> Replica {
    use Block::{Data, Hole, Zero};
    Replica::line(vec![
        Pattern::whole(vec![Data(1), Zero, Hole]),
        Pattern::whole(vec![Hole, Data(2), Hole, Data(3)]),
    ])
}

/// A replica, and another of the same volume or of none.
fn replicas() -> impl Strategy<Value = (Replica, Option<Replica>)> {
    (vec(pair_strategy(40), 1..=4), any::<bool>(), 0..3_usize).prop_map(|(pairs, older, fewer)| {
        let (mut newer, mut before): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        newer.sort_by_key(|pattern| pattern.size);
        before.sort_by_key(|pattern| pattern.size);
        before.truncate(before.len().saturating_sub(fewer).max(1));
        (Replica::line(newer), older.then(|| Replica::line(before)))
    })
}

#[test]
fn whatever_there_was_the_target_becomes_what_the_source_is() {
    for fs in [Fs::Ext4, Fs::Xfs, Fs::Btrfs] {
        let Some(two) = Two::on(fs) else { continue };
        for_all(6, (replicas(), prop::sample::select(WAYS.to_vec())), |((newer, older), way)| {
            two.write(&newer, &two.source);
            let _ = fs::remove_dir_all(&two.target);
            if let Some(older) = older {
                two.write(&older, &two.target);
            }
            let stats = two.sync(way).unwrap();
            assert_eq!(stats.layers, newer.layers.len() as u64);
            two.assert_same();
            let again = two.sync(way).unwrap();
            assert_eq!((again.written_bytes, again.removed_files), (0, 0));
            two.assert_same();
        });
    }
}

#[test]
fn layers_of_equal_fresh_checksums_and_layouts_are_not_read() {
    for way in WAYS {
        let Some(two) = Two::on(Fs::Ext4) else { return };
        let made = small();
        two.write(&made, &two.source);
        two.sync(way).unwrap();
        let layer = snapshot("s0");
        let images = [two.source.join(&layer), two.target.join(&layer)];
        images.iter().for_each(|image| record(image));
        let stats = two.sync(way).unwrap();
        assert_eq!((stats.layers, stats.skipped_layers), (2, 1), "{way:?}");
        assert!(two.target.join(format!("{layer}.checksum")).exists());

        // The same bytes, and a checksum that says so, but zeros that hide and a hole that does not.
        use Block::{Data, Hole};
        Pattern::whole(vec![Data(1), Hole, Hole]).write_over(&images[1]);
        record(&images[1]);
        let stats = two.sync(way).unwrap();
        assert_eq!(stats.skipped_layers, 0, "{way:?}");
        assert_eq!(Content::of(&images[1]).kinds, made.layers[0].pattern.kinds());

        // A checksum of another time says nothing.
        record(&images[1]);
        let file = File::options().write(true).open(&images[1]).unwrap();
        file.set_times(fs::FileTimes::new().set_modified(std::time::SystemTime::now())).unwrap();
        drop(file);
        assert_eq!(two.sync(way).unwrap().skipped_layers, 0, "{way:?}");
    }
}

#[test]
fn what_only_the_target_has_goes_and_what_is_not_a_replicas_stays() {
    for way in WAYS {
        let Some(two) = Two::on(Fs::Ext4) else { return };
        two.write(&small(), &two.source);
        let mut older = small();
        older.layers[0].file = snapshot("other");
        older.layers[1].parent = snapshot("other");
        two.write(&older, &two.target);
        record(&two.target.join(snapshot("other")));
        let left = leave_leftovers(&two.target);
        fs::write(two.target.join("notes.txt"), "mine").unwrap();
        fs::write(two.target.join("golden.img"), "mine too").unwrap();
        let planned = two.plan(way, Dry::Plan).unwrap();
        let before = held(&two.target);
        let stats = two.sync(way).unwrap();
        assert_eq!(planned.removed_files.len() as u64, stats.removed_files);
        let removed = [
            "volume-snap-other.img",
            "volume-snap-other.img.checksum",
            "volume-snap-other.img.meta",
        ];
        assert_eq!(planned.removed_files, removed, "{before:?}", before = before.keys());
        assert_eq!(fs::read(two.target.join("notes.txt")).unwrap(), b"mine");
        fs::remove_file(two.target.join("notes.txt")).unwrap();
        fs::remove_file(two.target.join("golden.img")).unwrap();
        left.iter().for_each(|path| fs::remove_file(path).unwrap());
        two.assert_same();
    }
}

#[test]
fn a_dry_run_writes_nothing_and_tells_what_a_copy_does() {
    for way in WAYS {
        let Some(two) = Two::on(Fs::Ext4) else { return };
        two.write(&small(), &two.source);
        for dry in [Dry::Plan, Dry::Compare] {
            let plan = two.plan(way, dry).unwrap();
            assert_eq!((plan.layers, plan.copy.read_bytes), (2, 3 * 4096), "{way:?} {dry:?}");
            assert!(!two.target.exists());
        }
        let mut older = small();
        older.layers[1].pattern.blocks[1] = Block::Data(9);
        two.write(&older, &two.target);
        let before = held(&two.target);
        let plan = two.plan(way, Dry::Compare).unwrap();
        assert!(held(&two.target) == before);
        assert_eq!(plan.copy.written_bytes, Some(4096));
        assert_eq!(two.sync(way).unwrap().written_bytes, 4096);
    }
}

#[track_caller]
fn assert_untouched(two: &Two, before: &Held, ended: Result<ReplicaStats>, words: &str) {
    let error = ended.unwrap_err();
    let said = lacuna::describe(&error);
    assert!(said.contains(words), "{said}");
    // What the other end says has its remedy behind a semicolon.
    assert!(error.remedy().is_some() || said.contains("; "), "{said}");
    assert!(held(&two.target) == *before, "{said}");
}

#[test]
fn a_source_that_is_not_to_be_copied_is_refused_before_anything_is_written() {
    for way in WAYS {
        let Some(two) = Two::on(Fs::Ext4) else { return };
        let mut made = small();
        two.write(&made, &two.target);
        two.write(&made, &two.source);
        let before = held(&two.target);
        let forced = ReplicaOptions { force: true, ..ReplicaOptions::default() };

        let head = two.source.join(&made.head);
        let writer = File::options().write(true).open(&head).unwrap();
        assert_untouched(&two, &before, two.sync(way), "open for writing");
        two.sync_with(way, &forced).unwrap();
        drop(writer);

        made.rebuilding = true;
        made.write(&two.source);
        assert_untouched(&two, &before, two.sync(way), "not complete");
        two.sync_with(way, &forced).unwrap();
        assert!(
            held(&two.target)["volume.meta"]
                .1
                .windows(18)
                .any(|text| text == b"\"Rebuilding\":true,")
        );

        made.rebuilding = false;
        made.write(&two.source);
        two.sync(way).unwrap();
        fs::remove_file(&head).unwrap();
        let before = held(&two.target);
        assert_untouched(&two, &before, two.sync(way), "is missing");
        made.write(&two.source);
        fs::write(two.source.join(format!("{}.meta", snapshot("s0"))), "{").unwrap();
        assert_untouched(&two, &before, two.sync(way), "malformed");
        made.write(&two.source);
        made.layers[0].meta = Meta::Missing;
        fs::remove_file(two.source.join(format!("{}.meta", snapshot("s0")))).unwrap();
        assert_untouched(&two, &before, two.sync(way), "missing");
    }
}

/// Such a layer can only be copied when what interrupted it has gone on.
#[test]
fn a_source_that_is_marked_unfinished_is_refused_before_anything_is_written() {
    for way in WAYS {
        let Some(two) = Two::on(Fs::Ext4) else { return };
        two.write(&small(), &two.target);
        two.write(&small(), &two.source);
        let before = held(&two.target);
        let mark = format!(".{}.lacuna-unfinished", small().head);
        fs::write(two.source.join(&mark), "a session").unwrap();
        let forced = ReplicaOptions { force: true, ..ReplicaOptions::default() };
        for options in [ReplicaOptions::default(), forced] {
            assert_untouched(&two, &before, two.sync_with(way, &options), "is unfinished");
        }
        fs::remove_file(two.source.join(&mark)).unwrap();
        two.sync(way).unwrap();
    }
}

/// What hides the layer below would not arrive.
#[test]
fn a_source_that_shows_zeros_as_holes_is_refused() {
    for way in WAYS {
        let Some(two) = Two::on(Fs::Tmpfs) else { return };
        two.write(&small(), &two.source);
        let error = two.sync(way).unwrap_err();
        assert!(lacuna::describe(&error).contains("has no FIEMAP"), "{way:?}: {error:?}");
        assert!(!two.target.exists());
        assert!(two.plan(way, Dry::Plan).is_err());
        let forced = ReplicaOptions { force: true, ..ReplicaOptions::default() };
        two.sync_with(way, &forced).unwrap();
        assert_eq!(
            fs::read(two.source.join("volume.meta")).unwrap(),
            fs::read(two.target.join("volume.meta")).unwrap()
        );
    }
}

/// A block there hides what three others have below it.
#[test]
fn a_target_of_large_blocks_is_refused_before_anything_is_written() {
    let blocks = ["-b", "size=16384"].map(str::to_owned).to_vec();
    let large = MountOptions { size_mib: 600, mkfs: blocks, ..MountOptions::default() };
    let Some(large) = Mount::with(Fs::Xfs, &large) else { return };
    for way in WAYS {
        let Some(mut two) = Two::on(Fs::Ext4) else { return };
        two.write(&small(), &two.source);
        two.target = two.mount.path().join("b");
        let (source, target, _server) = match way {
            Way::Push => {
                let server = Server::start(large.path());
                let reach = Reach::Tcp(server.address.to_string());
                let remote = Remote { reach, path: b"b".to_vec(), token: None, insecure: false };
                (Place::Here(two.source.clone()), Place::There(remote), Some(server))
            }
            _ => {
                let (source, _, server) = two.places(way);
                (source, Place::Here(large.path().join("b")), server)
            }
        };
        let error = sync(&source, &target, &ReplicaOptions::default()).unwrap_err();
        let said = lacuna::describe(&error);
        assert!(said.contains("16384"), "{way:?}: {said}");
        assert_eq!(fs::read_dir(large.path().join("b")).unwrap().count(), 0, "{way:?}");
    }
}

/// They leave no room for the names of what stands beside an image while it is written.
#[test]
fn layers_of_names_that_are_too_long_are_refused_before_anything_is_written() {
    for way in WAYS {
        let Some(two) = Two::on(Fs::Ext4) else { return };
        for (length, fits) in [(lacuna::LONGEST_NAME, true), (lacuna::LONGEST_NAME + 1, false)] {
            let mut made = small();
            two.write(&made, &two.target);
            let before = held(&two.target);
            let name = snapshot(&"n".repeat(length - snapshot("").len()));
            made.layers[0].file.clone_from(&name);
            made.layers[1].parent = name;
            two.write(&made, &two.source);
            match fits {
                true => drop(two.sync(way).unwrap()),
                false => assert_untouched(&two, &before, two.sync(way), "name too long"),
            }
        }
    }
}

#[test]
fn a_directory_of_something_else_is_no_target() {
    for way in WAYS {
        let Some(two) = Two::on(Fs::Ext4) else { return };
        two.write(&small(), &two.source);
        fs::create_dir(&two.target).unwrap();
        fs::write(two.target.join("letter"), "dear").unwrap();
        let before = held(&two.target);
        assert_untouched(&two, &before, two.sync(way), "no replica directory");
    }
}

#[test]
fn a_target_in_use_is_refused() {
    for way in WAYS {
        let Some(two) = Two::on(Fs::Ext4) else { return };
        let made = small();
        two.write(&made, &two.source);
        two.write(&made, &two.target);
        let before = held(&two.target);
        let writer = File::options().write(true).open(two.target.join(&made.head)).unwrap();
        assert_untouched(&two, &before, two.sync(way), "open for writing");
        drop(writer);
        two.sync(way).unwrap();
    }
}

pub(crate) fn keeper(path: &str) -> ClientHello {
    ClientHello { role: Role::Keeper, ..hello(path) }
}

/// Files that belong to no replica, and names that lead elsewhere, are nobody's to ask for.
#[test]
fn a_server_keeps_to_the_files_of_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    let replica = root.join("a");
    fs::create_dir_all(&replica).unwrap();
    fs::write(directory.path().join("volume.meta"), "outside").unwrap();
    fs::write(replica.join("volume.meta"), "{\"LacunaRebuild\":\"0000000000000007\"}").unwrap();
    fs::write(replica.join("secret.txt"), "secret").unwrap();
    std::os::unix::fs::symlink(directory.path(), root.join("link")).unwrap();
    let server = Server::start(&root);
    let ask = |verb, name: &str, bytes: &'static [u8]| {
        let mut peer = server.client(&ClientHello { rebuild: Some(7), ..keeper("a") });
        peer.say(&Message::Ask { ask: Ask { verb, last: true, name: name.to_owned() }, bytes });
        let told = peer.told();
        server.failure();
        told
    };
    for name in
        ["../volume.meta", "/etc/passwd", "", "..", "secret.txt", ".x.img.meta", "b/c.img.meta"]
    {
        for verb in [Verb::Look, Verb::Read, Verb::Put, Verb::Remove] {
            let told = ask(verb, name, b"");
            assert!(told.contains("no file of a replica"), "{verb:?} {name}: {told}");
        }
    }
    for (verb, name) in [(Verb::Put, "volume.meta"), (Verb::Remove, "volume.meta")] {
        let told = ask(verb, name, b"{}");
        assert!(told.contains("no file of a replica"), "{verb:?}: {told}");
    }
    for (verb, name) in [(Verb::Put, "revision.counter"), (Verb::End, "")] {
        let told = ask(verb, name, &[b' '; 65_537]);
        assert!(told.contains("too large"), "{verb:?}: {told}");
    }
    assert!(ask(Verb::Put, "a.img", b"x").contains("no file of a replica"));
    assert_eq!(fs::read(replica.join("secret.txt")).unwrap(), b"secret");
    assert_eq!(fs::read(directory.path().join("volume.meta")).unwrap(), b"outside");
    assert_eq!(fs::read_dir(&replica).unwrap().count(), 2);

    for path in ["link", "../root/a", "/", "missing/deeper", ".x.img.lacuna-data", "x.checksum/"] {
        let mut peer = server.connect();
        peer.send(&keeper(path).encode().unwrap());
        let answer = peer.answer();
        assert!(matches!(answer, lacuna_wire::ServerHello::Refusal { .. }), "{path}: {answer:?}");
        server.failure();
    }
    assert!(!root.join("missing").exists());
    assert!(!root.join(".x.img.lacuna-data").exists());
}

#[test]
fn a_server_that_nobody_may_write_to_answers_and_makes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::with(directory.path(), |options| options.read_only = true);
    let mut peer = server.connect();
    peer.send(&keeper("a").encode().unwrap());
    assert!(matches!(peer.answer(), lacuna_wire::ServerHello::Refusal { code: 7, .. }));
    server.failure();
    let dry = ClientHello { dry: Some(Dry::Plan), ..keeper("a") };
    for (verb, refused) in [(Verb::List, false), (Verb::Put, true), (Verb::Remove, true)] {
        let mut peer = server.client(&dry);
        let ask =
            Ask { verb, last: true, name: if refused { "volume.meta" } else { "" }.to_owned() };
        peer.say(&Message::Ask { ask, bytes: b"" });
        match refused {
            true => assert!(peer.told().contains("read-only")),
            false => drop(peer.wait_for(lacuna_wire::types::ANSWER)),
        }
        drop(peer);
        assert_eq!(server.ended().is_err(), refused);
    }
    assert_eq!(fs::metadata(directory.path()).unwrap().nlink(), 2, "a directory was made");
}

#[test]
fn a_directory_is_not_copied_onto_itself() {
    let Some(two) = Two::on(Fs::Ext4) else { return };
    two.write(&small(), &two.source);
    let place = Place::Here(two.source.clone());
    let other = Place::Here(two.source.join("../a"));
    let ended = sync(&place, &other, &ReplicaOptions::default());
    assert!(matches!(ended, Err(Error::Image(lacuna::Error::SameFile { .. }))), "{ended:?}");
    let empty = two.mount.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let ended = sync(&Place::Here(empty), &place, &ReplicaOptions::default());
    let is_none = |error: &Error| {
        matches!(error, Error::Image(lacuna::Error::Chain(ChainError::NotAReplica { .. })))
    };
    assert!(ended.as_ref().is_err_and(is_none), "{ended:?}");
}

/// What is written to one layer would be written to the other, too.
#[test]
fn a_target_of_layers_with_more_names_is_refused() {
    for way in WAYS {
        let Some(two) = Two::on(Fs::Ext4) else { return };
        two.write(&small(), &two.source);
        two.write(&small(), &two.target);
        let [base, head] =
            [&small().layers[0].file, &small().layers[1].file].map(|file| two.target.join(file));
        fs::remove_file(&head).unwrap();
        fs::hard_link(&base, &head).unwrap();
        let before = held(&two.target);
        assert_untouched(&two, &before, two.sync(way), "another name");
    }
}

#[test]
fn a_source_whose_head_or_another_image_is_not_described_is_refused() {
    for way in WAYS {
        let Some(two) = Two::on(Fs::Ext4) else { return };
        let made = small();
        two.write(&made, &two.source);
        two.write(&made, &two.target);
        let before = held(&two.target);
        fs::remove_file(two.source.join(format!("{}.meta", made.head))).unwrap();
        assert_untouched(&two, &before, two.sync(way), "volume.meta names");
        made.write(&two.source);
        fs::write(two.source.join(snapshot("lost")), "").unwrap();
        assert_untouched(&two, &before, two.sync(way), "volume-snap-lost.img");
    }
}

#[test]
fn a_marked_layer_of_the_target_is_never_equal() {
    let Some(two) = Two::on(Fs::Ext4) else { return };
    two.write(&small(), &two.source);
    two.sync(Way::Local).unwrap();
    let layer = snapshot("s0");
    let images = [two.source.join(&layer), two.target.join(&layer)];
    let mark = two.target.join(format!(".{layer}.lacuna-unfinished"));
    for marked in [true, false] {
        images.iter().for_each(|image| record(image));
        if marked {
            fs::write(&mark, "a session").unwrap();
        }
        assert_eq!(two.sync(Way::Local).unwrap().skipped_layers, u64::from(!marked));
        assert!(!mark.exists());
    }
}

/// Whatever it is called at the server.
#[test]
fn a_directory_is_not_pushed_to_itself() {
    let Some(two) = Two::on(Fs::Ext4) else { return };
    two.write(&small(), &two.source);
    let before = held(&two.source);
    let server = Server::start(two.mount.path());
    let remote = Remote {
        reach: Reach::Tcp(server.address.to_string()),
        path: b"a".to_vec(),
        token: None,
        insecure: false,
    };
    let places = [Place::Here(two.source.clone()), Place::There(remote)];
    for (source, target) in [(&places[0], &places[1]), (&places[1], &places[0])] {
        let ended = sync(source, target, &ReplicaOptions::default());
        assert!(matches!(ended, Err(Error::Image(lacuna::Error::SameFile { .. }))), "{ended:?}");
    }
    assert!(held(&two.source) == before);
}

/// A server may name what it likes.
#[test]
fn names_that_lead_elsewhere_are_not_taken_from_a_server() {
    let directory = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = |bytes: &'static [u8]| {
        crate::peer::frame(&Message::Answer { answer: lacuna_wire::Answer::Bytes, bytes })
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for bytes in [&b"0123456789abcdef"[..], b"volume.meta\0volume-snap-/../../x.img.meta\0"]
            {
                let mut peer = crate::peer::Peer::new(listener.accept().unwrap().0);
                peer.hello();
                let welcome = lacuna_wire::ServerHello::Welcome {
                    version: 2,
                    program: "x".to_owned(),
                    zstd: false,
                };
                peer.send(&welcome.encode().unwrap());
                peer.wait_for(lacuna_wire::types::ASK);
                peer.send(&answer(bytes));
                peer.rest();
            }
        });
        let reach = Reach::Tcp(address.to_string());
        let source = Remote { reach, path: b"a/".to_vec(), token: None, insecure: false };
        let target = Place::Here(directory.path().join("b"));
        let options = ReplicaOptions::default();
        let ended = sync(&Place::There(source), &target, &options);
        let said = lacuna::describe(&ended.unwrap_err());
        assert!(said.contains("names files that no replica has"), "{said}");
    });
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn links_in_a_served_directory_are_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let replica = directory.path().join("root/a");
    fs::create_dir_all(&replica).unwrap();
    fs::write(directory.path().join("secret"), "secret").unwrap();
    std::os::unix::fs::symlink("../../secret", replica.join("revision.counter")).unwrap();
    fs::write(replica.join("volume.meta"), "{}").unwrap();
    let server = Server::start(&directory.path().join("root"));
    let mut peer = server.client(&ClientHello { dry: Some(Dry::Plan), ..keeper("a") });
    let ask = Ask { verb: Verb::Read, last: true, name: "revision.counter".to_owned() };
    peer.say(&Message::Ask { ask, bytes: b"" });
    assert!(peer.told().contains("symbolic link"));
}
