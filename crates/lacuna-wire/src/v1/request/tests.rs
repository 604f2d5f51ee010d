use proptest::prelude::*;

use super::*;

fn get(rest: &str) -> Result<Request, Refusal> {
    Request::parse("GET", &format!("{PREFIX}{rest}"))
}

fn post(rest: &str) -> Result<Request, Refusal> {
    Request::parse("POST", &format!("{PREFIX}{rest}"))
}

#[track_caller]
fn refused(result: Result<Request, Refusal>, status: u16, message: &str) {
    let refusal = result.unwrap_err();
    assert_eq!((refusal.status, refusal.message.as_str()), (status, message));
}

fn range(begin: u64, end: u64) -> Interval {
    Interval::new(begin, end).unwrap()
}

#[test]
fn each_request_is_read_and_written_as_the_original_client_does() {
    let close = Request::Close { method: "crc64".into(), checksum: "0470c08fbc4dc702".into() };
    for (method, target, request) in [
        (
            "GET",
            "/v1-ssync/open?begin=0&directIO=true&end=81920",
            Request::Open { size: 81920, direct_io: true },
        ),
        (
            "GET",
            "/v1-ssync/open?begin=0&directIO=false&end=10",
            Request::Open { size: 10, direct_io: false },
        ),
        ("GET", "/v1-ssync/getChecksum?begin=0&end=4096", Request::GetChecksum(range(0, 4096))),
        ("POST", "/v1-ssync/writeData?begin=1&end=2", Request::WriteData(range(1, 2))),
        ("POST", "/v1-ssync/sendHole?begin=1&end=2", Request::SendHole(range(1, 2))),
        ("GET", "/v1-ssync/getRecordedMetadata", Request::GetRecordedMetadata),
        ("POST", "/v1-ssync/close?checksum=0470c08fbc4dc702&checksumMethod=crc64", close),
    ] {
        assert_eq!(Request::parse(method, target).as_ref(), Ok(&request));
        assert_eq!((request.method().as_str(), request.target().as_str()), (method, target));
    }
}

#[test]
fn parameters_may_come_in_any_order_among_unknown_ones() {
    let request = Request::Open { size: 4096, direct_io: true };
    assert_eq!(get("open?x=1&directIO=T&end=%34096&begin=%2B0&end=7&y=%"), Ok(request));
    assert_eq!(get("getRecordedMetadata?x"), Ok(Request::GetRecordedMetadata));
}

#[test]
fn an_empty_range_is_left_to_the_server() {
    let empty = range(4096, 4096);
    assert_eq!(get("getChecksum?begin=4096&end=4096"), Ok(Request::GetChecksum(empty)));
    assert_eq!(post("writeData?begin=4096&end=4096"), Ok(Request::WriteData(empty)));
    assert_eq!(post("sendHole?begin=4096&end=4096"), Ok(Request::SendHole(empty)));
}

#[test]
fn negative_reversed_and_overflowing_ranges_are_400() {
    let failed = "failed to query interval: ";
    for name in ["writeData", "sendHole"] {
        refused(
            post(&format!("{name}?begin=-1&end=4096")),
            400,
            &format!("{failed}begin -1 is negative"),
        );
        refused(
            post(&format!("{name}?begin=8192&end=4096")),
            400,
            &format!("{failed}end 4096 is before begin 8192"),
        );
    }
    refused(get("getChecksum?begin=0&end=-4096"), 400, &format!("{failed}end -4096 is negative"));
    refused(
        get("getChecksum?begin=0&end=9223372036854775808"),
        400,
        "failed to query interval: failed to parse end string 9223372036854775807: \
         strconv.ParseInt: parsing \"9223372036854775808\": value out of range",
    );
    refused(
        get("open?begin=-9223372036854775809&end=4096&directIO=true"),
        400,
        "failed to query interval: failed to parse begin string -9223372036854775808: \
         strconv.ParseInt: parsing \"-9223372036854775809\": value out of range",
    );
    let max = i64::MAX.unsigned_abs();
    assert_eq!(
        get(&format!("getChecksum?begin={max}&end={max}")),
        Ok(Request::GetChecksum(range(max, max)))
    );
}

#[test]
fn an_image_begins_at_0() {
    refused(
        get("open?begin=4096&end=8192&directIO=true"),
        400,
        "an image begins at 0, not at 4096",
    );
}

#[test]
fn direct_io_takes_whole_blocks_only() {
    refused(get("open?begin=0&end=1&directIO=1"), 500, "invalid file size 1 for directIO");
    assert_eq!(
        get("open?begin=0&end=0&directIO=1"),
        Ok(Request::Open { size: 0, direct_io: true })
    );
    assert_eq!(
        get("open?begin=0&end=1&directIO=0"),
        Ok(Request::Open { size: 1, direct_io: false })
    );
}

#[test]
fn what_is_missing_is_named_in_the_words_of_the_original() {
    refused(
        get("open?directIO=&x=%0A&end=2"),
        500,
        "failed to query directIO: directIO does not exist in the queries \
         map[directIO:[] end:[2] x:[\u{fffd}]]",
    );
    for rest in ["", "?begin=1", "?end=1", "?begin=&end=1", "?begin=1&end=%"] {
        refused(
            get(&format!("getChecksum{rest}")),
            500,
            "failed to query interval: queryParams begin or end does not exist",
        );
    }
}

#[test]
fn what_is_malformed_is_quoted_as_go_quotes_it() {
    refused(
        get("open?begin=0&end=1&directIO=%22y%0A%FF"),
        500,
        "failed to query directIO: failed to parse directIO string \"y\u{fffd}\u{fffd}: \
         strconv.ParseBool: parsing \"\\\"y\\n\\xff\": invalid syntax",
    );
    refused(
        post("sendHole?begin=+1&end=2"),
        500,
        "failed to query interval: failed to parse begin string 0: \
         strconv.ParseInt: parsing \" 1\": invalid syntax",
    );
}

#[test]
fn unknown_paths_are_404_whatever_the_method() {
    for target in [
        "",
        "/",
        "*",
        "open",
        "/v1-ssync",
        "/v1-ssync/",
        "/v1-ssync//",
        "/v1-ssync/Open",
        "/v1-ssync/ope%6E",
        "/v1-ssync//open",
        "/v1-ssync/open//",
        "/v1-ssync/open/x",
        "/V1-ssync/open",
        "/v1-ssync/nothing/",
        "/v1-ssync/openx",
        "http://h/v1-ssync/open",
    ] {
        refused(Request::parse("GET", target), 404, "404 page not found");
        refused(Request::parse("", target), 404, "404 page not found");
    }
}

#[test]
fn a_wrong_method_is_405_before_anything_else_is_looked_at() {
    for (method, rest) in [
        ("POST", "open"),
        ("HEAD", "open?begin=0&end=0&directIO=1"),
        ("get", "getChecksum?begin=0&end=0"),
        ("GET", "writeData/?begin=0&end=0"),
        ("GET", "sendHole"),
        ("POST", "getRecordedMetadata"),
        ("PUT", "close"),
    ] {
        let refusal = Request::parse(method, &format!("{PREFIX}{rest}")).unwrap_err();
        assert_eq!((refusal.status, refusal.body().as_str()), (405, ""), "{method} {rest}");
    }
}

#[test]
fn a_slash_too_many_moves_with_the_query_as_it_came() {
    let refusal = get("getChecksum/?begin=%31&&x").unwrap_err();
    assert_eq!(refusal.status, 301);
    assert!(refusal.headers().contains(&("Location", "/v1-ssync/getChecksum?begin=%31&&x".into())));
    assert!(!refusal.body().is_empty());
    let refusal = post("close/").unwrap_err();
    assert_eq!(refusal.headers(), [("Location", "/v1-ssync/close".into())]);
    assert_eq!(refusal.body(), "");
}

#[test]
fn a_target_over_the_limit_is_414() {
    let target = |len: usize| format!("{:a<len$}", "/v1-ssync/getRecordedMetadata?");
    let read = Request::parse("GET", &target(MAX_TARGET));
    assert_eq!(read, Ok(Request::GetRecordedMetadata));
    assert_eq!(Request::parse("GET", &target(MAX_TARGET + 1)).unwrap_err().status, 414);
}

#[test]
fn values_of_close_default_to_empty() {
    let close = |method: &str, checksum: &str| {
        Ok(Request::Close { method: method.into(), checksum: checksum.into() })
    };
    assert_eq!(post("close"), close("", ""));
    assert_eq!(post("close?checksumMethod=crc64"), close("crc64", ""));
    assert_eq!(post("close?checksum=a+b%26&checksumMethod="), close("", "a b&"));
}

#[test]
fn values_of_close_are_bounded_and_text() {
    let longest = "é".repeat(MAX_VALUE / 2);
    let request = Request::Close { method: longest.clone(), checksum: longest.clone() };
    assert_eq!(Request::parse("POST", &request.target()), Ok(request));
    for key in ["checksum", "checksumMethod"] {
        let message = format!("{key} is longer than 256 bytes");
        refused(post(&format!("close?{key}={longest}x")), 400, &message);
        refused(post(&format!("close?{key}=%ff")), 400, &format!("{key} is not UTF-8"));
    }
}

#[test]
fn a_close_that_no_server_takes_is_sent_without_values() {
    let long = "x".repeat(MAX_VALUE + 1);
    for (method, checksum) in [(long.as_str(), "1"), ("crc64", long.as_str())] {
        let request = Request::Close { method: method.into(), checksum: checksum.into() };
        assert_eq!(request.target(), "/v1-ssync/close?checksum=&checksumMethod=");
    }
}

fn intervals() -> impl Strategy<Value = Interval> {
    let max = i64::MAX.unsigned_abs();
    (0..=max, 0..=max).prop_map(|(a, b)| range(a.min(b), a.max(b)))
}

fn values() -> impl Strategy<Value = String> {
    any::<String>().prop_filter("fits", |value| value.len() <= MAX_VALUE)
}

fn requests() -> impl Strategy<Value = Request> {
    let blocks = 0..=i64::MAX.unsigned_abs() / BLOCK;
    prop_oneof![
        blocks.prop_map(|blocks| Request::Open { size: blocks * BLOCK, direct_io: true }),
        intervals().prop_map(|i| Request::Open { size: i.end(), direct_io: false }),
        intervals().prop_map(Request::GetChecksum),
        intervals().prop_map(Request::WriteData),
        intervals().prop_map(Request::SendHole),
        Just(Request::GetRecordedMetadata),
        (values(), values()).prop_map(|(method, checksum)| Request::Close { method, checksum }),
    ]
}

/// What looks like a target, so that the property gets past the path.
fn targets() -> impl Strategy<Value = String> {
    let path = "/v1-ssync/(open|getChecksum|writeData|sendHole|getRecordedMetadata|close)/?";
    let pair =
        "(begin|end|directIO|checksum|checksumMethod)=(-?[0-9]{0,22}|true|%?[0-9a-zé]*|\\PC*)";
    (path, prop::collection::vec(pair, 0..4))
        .prop_map(|(path, pairs)| format!("{path}?{}", pairs.join("&")))
}

/// A refusal can be written as HTTP as it is.
fn assert_sendable(refusal: &Refusal) {
    assert!([301, 400, 404, 405, 414, 500].contains(&refusal.status));
    assert!(!refusal.message.contains(char::is_control), "{:?}", refusal.message);
    assert!(refusal.body().len() < 64 << 10);
    for (_, value) in refusal.headers() {
        assert!(value.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{value:?}");
    }
}

proptest! {
    #[test]
    fn any_strings_are_read_or_refused(method in any::<String>(), target in any::<String>()) {
        if let Err(refusal) = Request::parse(&method, &target) {
            assert_sendable(&refusal);
        }
    }

    #[test]
    fn anything_like_a_target_is_read_or_refused(post in any::<bool>(), target in targets()) {
        let method = if post { Method::Post } else { Method::Get };
        match Request::parse(method.as_str(), &target) {
            Ok(request) => {
                prop_assert_eq!(request.method(), method);
                prop_assert_eq!(Request::parse(method.as_str(), &request.target()), Ok(request));
            }
            Err(refusal) => assert_sendable(&refusal),
        }
    }

    #[test]
    fn every_request_comes_back_from_its_target(request in requests()) {
        let target = request.target();
        prop_assert!(target.len() <= MAX_TARGET);
        prop_assert_eq!(Request::parse(request.method().as_str(), &target), Ok(request));
    }
}
