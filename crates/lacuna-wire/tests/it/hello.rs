//! The first words: what is written is read as it was, and what a peer makes up is refused.

use lacuna_wire::{ClientHello, Dry, Error, Role, ServerHello, hello_length};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::v2::hex;

fn client_hello() -> impl Strategy<Value = ClientHello> {
    let path = vec(1..=255_u8, 1..200);
    let token = proptest::option::of(vec(any::<u8>(), 0..=256));
    let dry = prop::sample::select(vec![None, Some(Dry::Plan), Some(Dry::Compare)]);
    let (flags, mode) = ((any::<[bool; 3]>(), dry), proptest::option::of(0..=0o7777_u32));
    (any::<(u16, u16)>(), "[ -~]{0,64}", any::<bool>(), path, token, flags, mode).prop_map(
        |(versions, program, push, path, token, (flags, dry), mode)| ClientHello {
            versions,
            program,
            role: if push { Role::Source } else { Role::Target },
            path,
            token,
            zstd: flags[0],
            verify: flags[1],
            dry,
            no_resume: flags[2],
            mode,
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
        zstd: true,
        verify: false,
        dry: None,
        no_resume: true,
        mode: Some(0o640),
    };
    let golden = "8b6c6163756e610a3e00\
        0100040002000200\
        02000c006c6163756e6120302e312e30\
        0300010000\
        040008006469736b2e696d67\
        0600010001\
        0700040004000000\
        08000400a0010000\
        1bdebcbed98769be";
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
        zstd: false,
        verify,
        dry,
        no_resume,
        mode: None,
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
        zstd: true,
        verify: false,
        dry: Some(Dry::Plan),
        no_resume: false,
        mode: None,
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
        zstd: false,
        verify: true,
        dry: Some(Dry::Compare),
        no_resume: false,
        mode: None,
    };
    assert!(ClientHello::decode(&good.encode().unwrap()).is_ok());
    for path in [&b""[..], b"a\0b"] {
        let hello = ClientHello { path: path.to_vec(), ..good.clone() };
        assert!(ClientHello::decode(&hello.encode().unwrap()).is_err(), "{path:?}");
    }
    let hello = ClientHello { mode: Some(0o7777), ..good.clone() };
    assert_eq!(ClientHello::decode(&hello.encode().unwrap()), Ok(hello));
    for mode in [0o10_000, 0o100_644, u32::MAX] {
        let hello = ClientHello { mode: Some(mode), ..good.clone() };
        let refused = ClientHello::decode(&hello.encode().unwrap()).unwrap_err().to_string();
        assert!(refused.contains("permission bits"), "{refused}");
    }
    let hello = ClientHello { path: vec![b'a'; 4096], ..good.clone() };
    assert!(matches!(hello.encode(), Err(Error::TooLong { .. })));
    let hello = ClientHello { token: Some(vec![1; 257]), ..good };
    assert!(matches!(hello.encode(), Err(Error::TooLong { .. })));
}
