//! Version 2 of the wire: what is written is read as it was, and what a peer makes up is refused.

use lacuna_wire::{
    Accept, Answer, Answered, Ask, Checked, ClientHello, DIGEST, Done, End, Error, HEADER, Header,
    Kind, Kinds, Looked, Message, Offer, Planned, Run, Runs, ServerHello, Verb, Wanted,
    hello_length,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn kinds() -> impl Strategy<Value = Kinds> {
    prop::sample::select(vec![Kinds::Three, Kinds::Two, Kinds::One])
}

fn runs() -> impl Strategy<Value = Runs> {
    let kind = prop::sample::select(vec![Kind::Hole, Kind::Zero, Kind::Data]);
    let run = (kind, 1..1_u64 << 40).prop_map(|(kind, blocks)| Run { kind, blocks });
    (0..1_u64 << 40, vec(run, 0..50)).prop_map(|(first, list)| {
        let mut runs = Runs::new(first);
        list.into_iter().for_each(|run| runs.push(run).unwrap());
        runs
    })
}

fn rising() -> impl Strategy<Value = Vec<u64>> {
    proptest::collection::btree_set(any::<u64>(), 0..20).prop_map(|set| set.into_iter().collect())
}

fn wanted() -> impl Strategy<Value = Vec<Wanted>> {
    (rising(), vec((any::<u16>(), any::<u16>()), 20)).prop_map(|(chunks, masks)| {
        let entry = |(chunk, (missing, differing)): (u64, (u16, u16))| {
            let (missing, differing) = (missing | 1, differing & !missing & !1);
            let digests = (0..differing.count_ones()).map(|n| [n as u8; DIGEST]).collect();
            Wanted { chunk, missing, differing, digests }
        };
        chunks.into_iter().zip(masks).map(entry).collect()
    })
}

fn put(name: &str) -> Ask {
    Ask { verb: Verb::Put, last: true, name: name.to_owned() }
}

fn ask() -> impl Strategy<Value = Ask> {
    let verbs = vec![
        Verb::List,
        Verb::Look,
        Verb::Read,
        Verb::Put,
        Verb::Remove,
        Verb::Identify,
        Verb::Begin,
        Verb::End,
    ];
    let verb = prop::sample::select(verbs);
    (verb, any::<bool>(), "[ -~é]{0,100}").prop_map(|(verb, last, name)| Ask { verb, last, name })
}

fn answer() -> impl Strategy<Value = Answer> {
    let checksum = proptest::option::of(("[a-z0-9]{0,20}", "[0-9a-f]{0,255}"));
    let looked = (any::<(u64, [u8; 32], bool, bool, u32, (i64, u32))>(), kinds(), checksum)
        .prop_map(
            |((size, layout, is_unfinished, in_use, links, change_time), kinds, checksum)| Looked {
                size,
                layout,
                kinds,
                is_unfinished,
                in_use,
                links,
                change_time,
                checksum,
            },
        );
    prop_oneof![
        Just(Answer::Did),
        Just(Answer::Absent),
        Just(Answer::Bytes),
        looked.prop_map(Answer::Looked)
    ]
}

fn message() -> impl Strategy<Value = Message<'static>> {
    let bytes = || vec(any::<u8>(), 0..300).prop_map(|bytes| &*bytes.leak());
    let offer = (0..=i64::MAX as u64, any::<(u64, u32)>())
        .prop_map(|(size, (allocated, mode))| Message::Offer(Offer { size, allocated, mode }));
    let accept = (kinds(), any::<(u64, u64)>()).prop_map(|(kinds, (content_end, total))| {
        Message::Accept(Accept { kinds, content_end, total })
    });
    let blocks = (rising(), any::<u16>(), bytes()).prop_map(|(chunks, blocks, bytes)| {
        let entries = chunks.into_iter().map(|chunk| Answered { chunk, blocks }).collect();
        Message::Blocks { entries, bytes }
    });
    let done = any::<([u8; 32], u64, u64, u64)>().prop_map(|(receipt, written, compared, rest)| {
        Message::Done(Done { receipt, written, compared, rest })
    });
    let planned = any::<([u64; 6], Option<u64>, bool)>().prop_map(|(numbers, free, exists)| {
        let [read, compared, written, cleared, needed, rest] = numbers;
        let free = free.filter(|free| *free != u64::MAX);
        Message::Planned(Planned { read, compared, written, cleared, needed, free, rest, exists })
    });
    prop_oneof![
        offer,
        accept,
        blocks,
        done,
        planned,
        (runs(), bytes()).prop_map(|(runs, digests)| Message::Digests { runs, digests }),
        (runs(), bytes()).prop_map(|(runs, bytes)| Message::Data { runs, bytes }),
        any::<([u8; 32], [u64; 4])>().prop_map(|(receipt, [data, zero, read, sent])| {
            Message::End(End { receipt, data, zero, read, sent })
        }),
        runs().prop_map(Message::Layout),
        (ask(), bytes()).prop_map(|(ask, bytes)| Message::Ask { ask, bytes }),
        (answer(), bytes()).prop_map(|(answer, bytes)| Message::Answer { answer, bytes }),
        wanted().prop_map(Message::Want),
        any::<(u64, u64)>().prop_map(|(chunks, done)| Message::Checked(Checked { chunks, done })),
        Just(Message::Settle),
        Just(Message::Working),
        Just(Message::Alive),
        (any::<u16>(), "[ -~]{0,100}").prop_map(|(code, words)| Message::Failed { code, words }),
    ]
}

fn payload(message: &Message<'_>) -> Vec<u8> {
    let mut payload = vec![];
    let rest = message.encode(&mut payload);
    payload.extend(rest);
    payload
}

proptest! {
    #[test]
    fn a_message_is_read_as_it_was_written(message in message()) {
        let payload = payload(&message);
        prop_assert_eq!(Message::decode(message.kind(), &payload), Ok(message));
    }

    #[test]
    fn a_frame_of_which_a_byte_is_wrong_is_refused(
        kind: u8, compressed: bool, payload in vec(any::<u8>(), 0..100), at: prop::sample::Index, bit in 0..8,
    ) {
        let header = Header::encode(kind, compressed, &[&payload]).unwrap();
        let decoded = Header::decode(&header).unwrap();
        prop_assert_eq!((decoded.kind, decoded.compressed, decoded.length), (kind, compressed, payload.len()));
        prop_assert_eq!(decoded.check(&payload), Ok(()));
        let mut bytes = [&header[..], &payload].concat();
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        let (header, payload) = bytes.split_first_chunk::<HEADER>().unwrap();
        let checked = Header::decode(header).and_then(|header| header.check(payload));
        prop_assert!(checked.is_err());
    }

    #[test]
    fn what_a_peer_makes_up_is_read_or_refused(kind: u8, bytes in vec(any::<u8>(), 0..200)) {
        let _ = Message::decode(kind, &bytes);
        let _ = ClientHello::decode(&bytes);
        let _ = ServerHello::decode(&bytes);
        let _ = hello_length(&bytes);
    }

    #[test]
    fn what_is_cut_or_spoilt_is_read_or_refused(
        message in message(), at: prop::sample::Index, bit in 0..8, cut: bool,
    ) {
        let mut bytes = payload(&message);
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] ^= 1_u8 << bit };
        }
        if let Ok(read) = Message::decode(message.kind(), &bytes) {
            // What can be read has one form.
            let words = matches!(read, Message::Failed { .. });
            prop_assert!(words || payload(&read) == bytes, "{:?}", read);
        }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Numbers below 256 as `u64`.
fn eight<const N: usize>(numbers: [&str; N]) -> String {
    numbers.map(|byte| format!("{byte:0<16}")).concat()
}

#[test]
fn messages_have_these_bytes() {
    let mut runs = Runs::new(16);
    for (kind, blocks) in [(Kind::Data, 16), (Kind::Hole, 100), (Kind::Zero, 12)] {
        runs.push(Run { kind, blocks }).unwrap();
    }
    let wanted = Wanted { chunk: 300, missing: 1, differing: 0x8000, digests: vec![[7; DIGEST]] };
    let planned = Planned {
        read: 1,
        compared: 2,
        written: 3,
        cleared: 4,
        needed: 5,
        free: Some(6),
        rest: 7,
        exists: true,
    };
    let numbers = |free: &str| eight(["01", "02", "03", "04", "05"]) + free + &eight(["07"]);
    let end = End { receipt: [9; 32], data: 1, zero: 2, read: 3, sent: 4 };
    let done = Done { receipt: [9; 32], written: 1, compared: 2, rest: 3 };
    let offer = Offer { size: 1, allocated: 2, mode: 3 };
    let accept = Accept { kinds: Kinds::Three, content_end: 1, total: 2 };
    let checked = Checked { chunks: 5, done: 6 };
    let of_device = Planned { free: None, exists: false, ..planned };
    let ask = Message::Ask { ask: put("a.img"), bytes: b"bytes" };
    let checksum = Some(("m".to_owned(), "v".to_owned()));
    let change_time = (3, 4);
    let looked = Looked {
        size: 1,
        layout: [9; 32],
        kinds: Kinds::Two,
        is_unfinished: false,
        in_use: true,
        links: 2,
        change_time,
        checksum,
    };
    let looked = Message::Answer { answer: Answer::Looked(looked), bytes: b"" };
    let names = Message::Answer { answer: Answer::Bytes, bytes: b"a\0" };
    for (message, kind, golden) in [
        (Message::Planned(planned), 0x16, numbers("0600000000000000") + "01"),
        (Message::Planned(of_device), 0x16, numbers("ffffffffffffffff") + "00"),
        (Message::Layout(runs.clone()), 0x06, "1003429003 31".replace(' ', "")),
        (Message::Data { runs, bytes: b"bytes" }, 0x03, "1003429003316279746573".to_owned()),
        (Message::Want(vec![wanted]), 0x12, format!("ac0201000080{}", "07".repeat(DIGEST))),
        (Message::Offer(offer), 0x01, "010000000000000002000000000000000300 0000".replace(' ', "")),
        (Message::Accept(accept), 0x11, "0301000000000000000200000000000000".to_owned()),
        (Message::Checked(checked), 0x13, "05000000000000000600000000000000".to_owned()),
        (Message::End(end), 0x05, "09".repeat(32) + &eight(["01", "02", "03", "04"])),
        (Message::Done(done), 0x15, "09".repeat(32) + &eight(["01", "02", "03"])),
        (ask, 0x07, "0301".to_owned() + "05612e696d67" + "6279746573"),
        (
            looked,
            0x17,
            "02".to_owned()
                + &eight(["01"])
                + &"09".repeat(32)
                + "020001020000000300000000000000040000000101"
                + "6d0176",
        ),
        (names, 0x17, "036100".to_owned()),
        (Message::Answer { answer: Answer::Did, bytes: b"" }, 0x17, "00".to_owned()),
        (Message::Answer { answer: Answer::Absent, bytes: b"" }, 0x17, "01".to_owned()),
        (Message::Settle, 0x14, String::new()),
        (Message::Working, 0x1d, String::new()),
        (Message::Alive, 0x1e, String::new()),
        (Message::Failed { code: 2, words: "no".to_owned() }, 0x1f, "02006e6f".to_owned()),
    ] {
        assert_eq!(message.kind(), kind);
        assert_eq!(hex(&payload(&message)), golden, "{message:?}");
    }
}

#[test]
fn the_bytes_of_a_frame() {
    let header = Header::encode(0x13, false, &[b"abc"]).unwrap();
    assert_eq!(hex(&header), "13000000030000007d18ab5298da5ede");
}

#[test]
fn what_no_peer_may_send_is_refused() {
    let offer = |size: u64| [&size.to_le_bytes()[..], &[0; 12]].concat();
    assert!(Message::decode(0x01, &offer(i64::MAX as u64)).is_ok());
    let want = |masks: [u8; 4]| [&[5][..], &masks, &[0; DIGEST]].concat();
    assert!(Message::decode(0x12, &want([1, 0, 2, 0])).is_ok());
    let looked =
        |kinds, checksum: &[u8]| [&[2][..], &[0; 40], &[kinds], &[0; 18], checksum].concat();
    let many_chunks = [&[0x81, 0x40][..], &[1, 1, 0].repeat(8193)].concat();
    for (kind, payload, why) in [
        (0x01, offer(i64::MAX as u64 + 1), "a size that no file can have"),
        (0x11, [&[4][..], &[0; 16]].concat(), "a number of kinds that there is not"),
        (0x12, want([1, 0, 1, 0]), "wants a block in two ways"),
        (0x12, vec![5, 0, 0, 0, 0], "wants a block in two ways, or none"),
        (0x12, [want([1, 0, 2, 0]), vec![0, 1, 0, 0, 0]].concat(), "chunks out of order"),
        (0x04, vec![2, 5, 1, 0, 0, 1, 0], "chunks out of order"),
        (0x04, many_chunks, "too many chunks"),
        (0x06, vec![0, 1, 3 << 2 | 3], "a kind that there is not"),
        (0x06, vec![0, 1, 2], "runs that are none"),
        (0x06, vec![0, 2, 6, 6], "runs that are none"),
        (0x06, [&[0, 1, 0xfe][..], &[0xff; 7], &[0x7f]].concat(), "past the end of any image"),
        (0x06, vec![0, 0x81, 0x80, 0x04], "too many runs"),
        (0x13, vec![0; 15], "ends early"),
        (0x16, vec![0; 56], "ends early"),
        (0x16, [vec![0; 56], vec![2]].concat(), "unsure whether there is a target"),
        (0x14, vec![0], "goes on after its end"),
        (0x07, vec![8, 0, 0], "asks for what there is not"),
        (0x07, vec![0, 2, 0], "neither sure nor not"),
        (0x07, vec![1, 0, 2, b'a'], "ends early"),
        (0x07, vec![1, 0, 1, 0xff], "text that is no UTF-8"),
        (0x17, vec![4], "of a form that there is not"),
        (0x17, looked(0, &[]), "a number of kinds that there is not"),
        (0x17, looked(3, &[2]), "neither sure nor not"),
        (0x17, looked(3, &[1, 1, b'm']), "ends early"),
        (0x99, vec![], "a type that there is not"),
    ] {
        let refused = Message::decode(kind, &payload).unwrap_err().to_string();
        assert!(refused.contains(why), "{kind:02x} {payload:02x?}: {refused}");
    }
}

#[test]
fn a_hello_or_a_frame_that_cannot_be_one_is_refused_before_it_is_read() {
    assert_eq!(hello_length(b""), Ok(None));
    assert_eq!(hello_length(b"\x8blacuna\n\x00"), Ok(None));
    assert_eq!(hello_length(b"\x8blacuna\n\x00\x20"), Ok(Some(8192 + 18)));
    assert!(hello_length(b"\x8blacuna\n\x01\x20").is_err());
    assert!(hello_length(b"GET ").is_err() && hello_length(b"\x16").is_err());
    let mut header = Header::encode(1, false, &[]).unwrap();
    for (at, byte) in [(1, 2), (2, 1), (3, 1), (6, 0x12)] {
        let mut spoilt = header;
        spoilt[at] = byte;
        assert!(Header::decode(&spoilt).is_err(), "{at}");
    }
    header[6] = 0x11;
    assert_eq!(Header::decode(&header).unwrap().length, 1_114_112);
    let long = vec![0; 1_114_113];
    assert!(matches!(Header::encode(1, false, &[&long]), Err(Error::TooLong { .. })));
}
