//! What is tried with any bytes: nothing panics, and what is understood has one form.
#![allow(dead_code, reason = "each fuzz target uses one of them")]

use lacuna_wire::{ClientHello, HEADER, Header, Message, ServerHello, hello_length};

/// The bytes of a hello.
pub(crate) fn hello(bytes: &[u8]) {
    let _ = hello_length(bytes);
    if let Ok(hello) = ClientHello::decode(bytes) {
        let again = hello.encode().and_then(|bytes| ClientHello::decode(&bytes));
        assert_eq!(again, Ok(hello));
    }
    if let Ok(hello) = ServerHello::decode(bytes) {
        let again = hello.encode().and_then(|bytes| ServerHello::decode(&bytes));
        assert_eq!(again, Ok(hello));
    }
}

/// The bytes of a frame, whatever its checksum.
pub(crate) fn frame(bytes: &[u8]) {
    let behind = first_frame(bytes);
    assert!(behind.len() <= bytes.len());
}

/// Returns what is behind it.
fn first_frame(bytes: &[u8]) -> &[u8] {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else { return &[] };
    let Ok(header) = Header::decode(header) else { return &[] };
    let Some((payload, behind)) = rest.split_at_checked(header.length) else { return &[] };
    let _ = header.check(payload);
    if let Ok(message) = Message::decode(header.kind, payload) {
        let mut again = vec![];
        let rest = message.encode(&mut again);
        again.extend(rest);
        assert!(matches!(message, Message::Failed { .. }) || again == payload);
    }
    behind
}

/// The bytes of one direction of a session.
pub(crate) fn session(bytes: &[u8]) {
    hello(bytes);
    let Ok(Some(length)) = hello_length(bytes) else { return };
    let mut rest = bytes.get(length..).unwrap_or_default();
    while !rest.is_empty() {
        rest = first_frame(rest);
    }
}
