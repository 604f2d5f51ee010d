#[test]
fn x() {
    assert!(fail::has_failpoints());
}
