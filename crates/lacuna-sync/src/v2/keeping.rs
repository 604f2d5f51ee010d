//! Work on the files of a replica directory: asked for at one end, done at the other, in order.

use std::collections::BTreeSet;

use lacuna::chain::{Files, Looked, Rebuild, is_ours};
use lacuna::{BLOCK, Cancel};
use lacuna_wire::{Answer, Ask, Message, Verb};

use super::frames::Outgoing;
use super::kinds::{kinds_from, origin_of};
use super::link::Link;
use crate::error::{Error, Refusal, Result};

/// What is asked of a replica directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The names of its files.
    List,
    /// What is known of a layer without reading it.
    Look(String),
    /// What a small file holds.
    Read(String),
    /// To replace a small file but `volume.meta`.
    Put(String, Vec<u8>),
    /// To remove a file.
    Remove(String),
    /// Which directory it is, whatever it is called.
    Identify,
    /// To say that it is being rebuilt, with what `volume.meta` says otherwise.
    Begin(Vec<u8>),
    /// To say with `volume.meta` that it is complete.
    End(Vec<u8>),
}

/// What that comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// It was done.
    Did,
    /// The names.
    Names(BTreeSet<String>),
    /// Of a layer, if it is there.
    Looked(Option<Looked>),
    /// Of a small file, or what identifies the directory.
    Text(Vec<u8>),
}

impl Asked {
    /// Whether anything is written.
    pub(crate) fn writes(&self) -> bool {
        matches!(self, Self::Put(..) | Self::Remove(_) | Self::Begin(_) | Self::End(_))
    }

    /// Does it; what writes, for `rebuild` alone.
    pub(crate) fn act(
        &self,
        files: &Files,
        rebuild: Option<Rebuild>,
        cancel: &Cancel,
    ) -> Result<Answered> {
        cancel.check()?;
        let rebuild = || rebuild.ok_or(Refusal::ReadOnly);
        match self {
            Self::List => return Ok(Answered::Names(files.list()?)),
            Self::Look(name) => return Ok(Answered::Looked(files.look(name, cancel)?)),
            Self::Read(name) => return Ok(Answered::Text(files.read(name)?)),
            Self::Identify => return Ok(Answered::Text(files.id()?.to_vec())),
            Self::Begin(volume) => files.begin(volume, rebuild()?)?,
            Self::End(volume) => files.end(volume, rebuild()?)?,
            Self::Put(name, text) => {
                let _entered = files.enter(rebuild()?)?;
                files.put(name, text)?;
            }
            Self::Remove(name) => {
                let _entered = files.enter(rebuild()?)?;
                files.remove(name)?;
            }
        }
        Ok(Answered::Did)
    }

    fn message(&self, last: bool) -> Result<Outgoing> {
        let (verb, name, bytes): (_, &str, &[u8]) = match self {
            Self::List => (Verb::List, "", &[]),
            Self::Look(name) => (Verb::Look, name, &[]),
            Self::Read(name) => (Verb::Read, name, &[]),
            Self::Put(name, text) => (Verb::Put, name, text),
            Self::Remove(name) => (Verb::Remove, name, &[]),
            Self::Identify => (Verb::Identify, "", &[]),
            Self::Begin(volume) => (Verb::Begin, "", volume),
            Self::End(volume) => (Verb::End, "", volume),
        };
        let ask = Ask { verb, last, name: name.to_owned() };
        Outgoing::new(&Message::Ask { ask, bytes })
    }

    fn of(ask: Ask, bytes: &[u8]) -> Self {
        match ask.verb {
            Verb::List => Self::List,
            Verb::Look => Self::Look(ask.name),
            Verb::Read => Self::Read(ask.name),
            Verb::Put => Self::Put(ask.name, bytes.to_vec()),
            Verb::Remove => Self::Remove(ask.name),
            Verb::Identify => Self::Identify,
            Verb::Begin => Self::Begin(bytes.to_vec()),
            Verb::End => Self::End(bytes.to_vec()),
        }
    }
}

/// Asks for all of `asks`, and returns what they come to, each in its place.
pub(super) fn ask(link: &Link, asks: &[Asked]) -> Result<Vec<Answered>> {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _guard = link.guard();
            for (index, asked) in asks.iter().enumerate() {
                let sent = asked.message(index + 1 == asks.len()).and_then(|ask| link.send(ask));
                if let Err(error) = sent {
                    link.fail(error);
                    return;
                }
            }
        });
        asks.iter().map(|asked| answer_to(link, asked)).collect()
    })
}

fn answer_to(link: &Link, asked: &Asked) -> Result<Answered> {
    let answer = link.recv()?.open(&link.pool)?;
    let Message::Answer { answer, bytes } = answer.message()? else {
        return Err(Error::malformed("something", "is no Answer"));
    };
    Ok(match (asked, answer) {
        (asked, Answer::Did) if asked.writes() => Answered::Did,
        (Asked::Look(_), Answer::Absent) => Answered::Looked(None),
        (Asked::Look(_), Answer::Looked(looked)) => Answered::Looked(Some(Looked {
            size: looked.size,
            layout: looked.layout,
            checksum: looked.checksum,
            origin: origin_of(looked.kinds),
            is_unfinished: looked.is_unfinished,
            in_use: looked.in_use,
            links: looked.links,
            change_time: looked.change_time,
        })),
        (Asked::Read(_) | Asked::Identify, Answer::Bytes) => Answered::Text(bytes.to_vec()),
        (Asked::List, Answer::Bytes) => Answered::Names(names(bytes)?),
        _ => return Err(Error::malformed("an Answer", "is none to what was asked")),
    })
}

/// Files of one directory that belong to a replica, at most: each snapshot has three, and few volumes have more
/// than 250 of these.
const NAMES: usize = 4096;

/// Each with a zero byte behind it: names that lead nowhere else, whatever the peer would like.
fn names(bytes: &[u8]) -> Result<BTreeSet<String>> {
    let text = str::from_utf8(bytes);
    let text = text.map_err(|_| Error::malformed("an Answer", "has names that are no UTF-8"))?;
    let names: BTreeSet<_> = text.split_terminator('\0').map(str::to_owned).collect();
    match names.iter().all(|name| is_ours(name)) {
        true if names.len() > NAMES => Err(Error::malformed("an Answer", "has over 4096 names")),
        true => Ok(names),
        false => Err(Error::malformed("an Answer", "names files that no replica has")),
    }
}

/// Does what is asked with `files`, until that was all; what writes, for `rebuild` alone. Returns how many bytes
/// were put.
pub(super) fn keep(
    link: &Link,
    files: &Files,
    rebuild: Option<Rebuild>,
    cancel: &Cancel,
) -> Result<u64> {
    let mut put = 0;
    loop {
        let arrived = link.recv()?.open(&link.pool)?;
        let Message::Ask { ask, bytes } = arrived.message()? else {
            return Err(Error::malformed("something", "is no Ask"));
        };
        put += bytes.len() as u64;
        let last = ask.last;
        let asked = Asked::of(ask, bytes);
        let answered = link.in_call(|| asked.act(files, rebuild, cancel))?;
        link.send(answer(&answered)?)?;
        if last {
            return Ok(put);
        }
    }
}

fn answer(answered: &Answered) -> Result<Outgoing> {
    let mut bytes = vec![];
    let answer = match answered {
        Answered::Did => Answer::Did,
        Answered::Looked(None) => Answer::Absent,
        Answered::Looked(Some(looked)) => Answer::Looked(lacuna_wire::Looked {
            size: looked.size,
            layout: looked.layout,
            kinds: kinds_from(looked.origin, BLOCK),
            is_unfinished: looked.is_unfinished,
            in_use: looked.in_use,
            links: looked.links,
            change_time: looked.change_time,
            checksum: looked.checksum.clone(),
        }),
        Answered::Names(names) => {
            names.iter().for_each(|name| bytes.extend([name.as_bytes(), b"\0"].concat()));
            Answer::Bytes
        }
        Answered::Text(text) => {
            bytes.extend(text);
            Answer::Bytes
        }
    };
    Outgoing::new(&Message::Answer { answer, bytes: &bytes })
}
