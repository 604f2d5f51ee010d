//! The first words: what is written is read as it was, and what a peer makes up is refused.

use lacuna_wire::{ClientHello, Dry, Error, Role, ServerHello, Token, hello_length};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::v2::hex;

fn client_hello() -> impl Strategy<Value = ClientHello> {
    let path = vec(1..=255_u8, 1..200);
    let token = proptest::option::of(vec(any::<u8>(), 0..=256));
    let dry = prop::sample::select(vec![None, Some(Dry::Plan), Some(Dry::Compare)]);
    let zstd = proptest::option::of(1..=19_u8);
    let flags = (any::<[bool; 2]>(), dry, zstd);
    let numbers = (proptest::option::of(0..=0o777_u32), any::<Option<u64>>());
    (any::<(u16, u16)>(), "[ -~]{0,64}", any::<bool>(), path, token, flags, numbers).prop_map(
        |(versions, program, push, path, token, (flags, dry, zstd), (mode, rebuild))| ClientHello {
            versions,
            program,
            role: if push { Role::Source } else { Role::Target },
            path,
            token: token.map(Token::from),
            zstd,
            verify: flags[0],
            dry,
            no_resume: flags[1],
            mode,
            rebuild,
        },
    )
}

proptest! {
    #[test]
    fn a_hello_is_read_as_it_was_written(hello in client_hello()) {
        let bytes = hello.encode().unwrap();
        prop_assert_eq!(hello_length(&bytes), Ok(Some(bytes.len())));
        prop_assert_eq!(ClientHello::decode(&bytes), Ok(hello));
    }

    #[test]
    fn a_hello_of_which_a_byte_is_wrong_is_refused(hello in client_hello(), at: prop::sample::Index, bit in 0..8) {
        let mut bytes = hello.encode().unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        prop_assert!(ClientHello::decode(&bytes).is_err());
    }
}

#[test]
fn a_hello_has_a_frozen_form() {
    let hello = ClientHello {
        versions: (2, 2),
        program: "lacuna 0.1.0".to_owned(),
        role: Role::Source,
        path: b"disk.img".to_vec(),
        token: None,
        zstd: Some(3),
        verify: false,
        dry: None,
        no_resume: true,
        mode: Some(0o640),
        rebuild: Some(258),
    };
    let golden = "8b6c6163756e610a4f00\
        0100040002000200\
        02000c006c6163756e6120302e312e30\
        0300010000\
        040008006469736b2e696d67\
        0600010001\
        0700040004000000\
        08000400a0010000\
        0a00010003\
        0b0008000201000000000000\
        e5668783d44314e4";
    assert_eq!(hex(&hello.encode().unwrap()), golden);
}

/// The hello `bytes` with another body.
fn changed(bytes: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut body = bytes[10..bytes.len() - 8].to_vec();
    change(&mut body);
    let mut framed = [&bytes[..8], &(body.len() as u16).to_le_bytes(), &body].concat();
    framed.extend(crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, &framed).to_le_bytes());
    framed
}

#[test]
fn the_options_of_a_hello_are_these_bits() {
    let hello = |verify, dry, no_resume| ClientHello {
        versions: (2, 2),
        program: String::new(),
        role: Role::Source,
        path: b"a".to_vec(),
        token: None,
        zstd: None,
        verify,
        dry,
        no_resume,
        mode: None,
        rebuild: None,
    };
    for (hello, bits) in [
        (hello(false, None, false), 0),
        (hello(true, None, false), 1),
        (hello(false, Some(Dry::Plan), false), 2),
        (hello(false, None, true), 4),
        (hello(false, Some(Dry::Compare), false), 10),
        (hello(true, Some(Dry::Compare), true), 15),
    ] {
        let bytes = hello.encode().unwrap();
        // The last capability, in front of the checksum.
        assert_eq!(bytes[bytes.len() - 16..bytes.len() - 8], [7, 0, 4, 0, bits, 0, 0, 0]);
    }
    let bytes = changed(&hello(false, None, false).encode().unwrap(), |body| {
        let options = body.len() - 4;
        body[options] = 8;
    });
    let refused = ClientHello::decode(&bytes).unwrap_err().to_string();
    assert!(refused.contains("compares in a session that writes"), "{refused}");
}

#[test]
fn options_that_are_not_known_are_ignored() {
    let hello = ClientHello {
        versions: (2, 2),
        program: String::new(),
        role: Role::Source,
        path: b"a".to_vec(),
        token: None,
        zstd: None,
        verify: false,
        dry: Some(Dry::Plan),
        no_resume: false,
        mode: None,
        rebuild: None,
    };
    let bytes = changed(&hello.encode().unwrap(), |body| {
        let options = body.len() - 4;
        assert_eq!(body[options..], 2_u32.to_le_bytes());
        body[options..].copy_from_slice(&(!0b1101_u32).to_le_bytes());
    });
    assert_eq!(ClientHello::decode(&bytes), Ok(hello));
}

#[test]
fn unknown_capabilities_are_skipped_and_missing_ones_are_not() {
    let hello = ServerHello::Welcome { version: 2, program: "x".to_owned(), zstd: false };
    let bytes = hello.encode().unwrap();
    let with = |more: &[u8]| ServerHello::decode(&changed(&bytes, |body| body.extend(more)));
    assert_eq!(with(&[0xee, 0, 2, 0, 1, 2]), Ok(hello));
    assert!(matches!(with(&[1, 0, 0, 0]), Err(Error::Malformed { .. })));
    assert!(matches!(with(&[0xee, 0, 9, 0, 1, 2]), Err(Error::Malformed { .. })));
}

#[test]
fn a_hello_has_a_path_and_a_role() {
    let good = ClientHello {
        versions: (2, 2),
        program: String::new(),
        role: Role::Target,
        path: b"a".to_vec(),
        token: None,
        zstd: None,
        verify: true,
        dry: Some(Dry::Compare),
        no_resume: false,
        mode: None,
        rebuild: None,
    };
    assert!(ClientHello::decode(&good.encode().unwrap()).is_ok());
    for (path, reason) in [(&b""[..], "no path"), (b"a\0b", "a zero byte")] {
        let hello = ClientHello { path: path.to_vec(), ..good.clone() };
        let error = ClientHello::decode(&hello.encode().unwrap()).unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
    let hello = ClientHello { mode: Some(0o777), ..good.clone() };
    assert_eq!(ClientHello::decode(&hello.encode().unwrap()), Ok(hello));
    let refused = |hello: ClientHello, words: &str| {
        let refused = ClientHello::decode(&hello.encode().unwrap()).unwrap_err().to_string();
        assert!(refused.contains(words), "{refused}");
    };
    for mode in [0o1000, 0o4755, 0o100_644, u32::MAX] {
        refused(ClientHello { mode: Some(mode), ..good.clone() }, "permission bits");
    }
    for level in [0, 20, 255] {
        refused(ClientHello { zstd: Some(level), ..good.clone() }, "a level of zstd");
    }
    refused(ClientHello { program: "a\nb".to_owned(), ..good.clone() }, "a name of its program");
    let hello = ClientHello { path: vec![b'a'; 4096], ..good.clone() };
    assert!(matches!(hello.encode(), Err(Error::TooLong { .. })));
    let hello = ClientHello { token: Some(vec![1; 257].into()), ..good };
    assert!(matches!(hello.encode(), Err(Error::TooLong { .. })));
}

/// A hello of these capabilities.
fn hello_of(capabilities: &[(u16, &[u8])]) -> Vec<u8> {
    changed(&[&lacuna_wire::MAGIC[..], &[0; 10]].concat(), |body| {
        for (tag, value) in capabilities {
            body.extend(tag.to_le_bytes());
            body.extend((value.len() as u16).to_le_bytes());
            body.extend(*value);
        }
    })
}

#[test]
fn nothing_stands_behind_the_value_of_a_capability() {
    let version = [2, 0, 2, 0];
    let good: [(u16, &[u8]); 6] = [
        (1, &version),
        (3, &[1]),
        (4, b"a"),
        (7, &[0, 0, 0, 0]),
        (8, &[0xa0, 1, 0, 0]),
        (10, &[3]),
    ];
    assert!(ClientHello::decode(&hello_of(&good)).is_ok());
    let welcome: [(u16, &[u8]); 2] = [(1, &[2, 0]), (6, &[1])];
    assert!(ServerHello::decode(&hello_of(&welcome)).is_ok());
    for tag in [1, 3, 7, 8, 10] {
        let longer = good.map(|(known, value)| {
            let more = if known == tag { &[0][..] } else { &[] };
            (known, [value, more].concat())
        });
        let longer = longer.each_ref().map(|(tag, value)| (*tag, &**value));
        let refused = ClientHello::decode(&hello_of(&longer)).unwrap_err().to_string();
        assert!(refused.contains("goes on after its end"), "{tag}: {refused}");
    }
    for (hello, words) in [
        ([(1, &[2, 0, 0][..]), (6, &[1])], "goes on after its end"),
        ([(1, &[2, 0]), (6, &[2])], "a compression that was not offered"),
        ([(1, &[2, 0]), (6, &[1, 1])], "a compression that was not offered"),
    ] {
        let refused = ServerHello::decode(&hello_of(&hello)).unwrap_err().to_string();
        assert!(refused.contains(words), "{refused}");
    }
}

#[test]
fn a_name_or_a_reason_that_is_too_long_or_no_text_is_none() {
    let named = |name: &[u8]| {
        let hello: [(u16, &[u8]); 4] = [(1, &[2, 0, 2, 0]), (2, name), (3, &[0]), (4, b"a")];
        ClientHello::decode(&hello_of(&hello))
    };
    let whole = "\u{e9}".repeat(32);
    assert_eq!(named(whole.as_bytes()).unwrap().program, whole);
    for name in [&[b'a'; 65][..], b"\xff", b"\x1b[2J", &whole.as_bytes()[1..]] {
        let refused = named(name).unwrap_err().to_string();
        assert!(refused.contains("a name of its program"), "{refused}");
    }
    for words in ["\u{1}".repeat(1024), "\u{e9}".repeat(1024), format!("a{}", "\u{e9}".repeat(512))]
    {
        let refusal: [(u16, &[u8]); 1] = [(9, &[&[5, 0], words.as_bytes()].concat())];
        let read = ServerHello::decode(&hello_of(&refusal)).unwrap();
        let ServerHello::Refusal { words, .. } = &read else { panic!("{read:?}") };
        assert!((1022..=1024).contains(&words.len()), "{}", words.len());
        assert_eq!(ServerHello::decode(&read.encode().unwrap()), Ok(read));
    }
}
