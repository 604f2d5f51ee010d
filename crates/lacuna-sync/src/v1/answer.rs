//! What a v1 server answers with.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use lacuna_wire::v1::{self, Interval, Refusal};

use crate::error::Error;

/// A 200 answer.
pub(super) enum Answer {
    Empty,
    Json(Vec<u8>),
}

/// The original's words for a hole without bytes, counted in blocks.
pub(super) fn empty_hole(interval: Interval) -> Refusal {
    let block = interval.begin() / v1::BLOCK;
    Refusal::failed(format!(
        "failed to punch hole interval [{block:8}:{block:8}]({:3}): invalid argument",
        0
    ))
}

/// How a client is told of `error`.
pub(super) fn refuse(error: &Error) -> Refusal {
    match error {
        Error::State(_) => Refusal::new(409, error.to_string()),
        error => Refusal::failed(lacuna::describe(error)),
    }
}

/// The HTTP of an answer.
pub(super) fn respond(answer: Result<Answer, Refusal>) -> Response<Full<Bytes>> {
    let mut response = Response::default();
    let headers = match &answer {
        Ok(Answer::Empty) => vec![],
        Ok(Answer::Json(_)) => vec![(CONTENT_TYPE.as_str(), v1::JSON.to_owned())],
        Err(refusal) => refusal.headers(),
    };
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&value)) {
            response.headers_mut().insert(name, value);
        }
    }
    *response.body_mut() = match answer {
        Ok(Answer::Empty) => Full::default(),
        Ok(Answer::Json(json)) => Full::new(json.into()),
        Err(refusal) => {
            let status = StatusCode::from_u16(refusal.status);
            *response.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Full::new(refusal.body().into())
        }
    };
    response
}
