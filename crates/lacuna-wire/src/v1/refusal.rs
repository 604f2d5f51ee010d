//! Answers other than 200, as Go's `http.Error`, `http.Redirect` and gorilla/mux write them.

/// An answer other than 200: status, headers and body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status code.
    pub status: u16,
    /// What is wrong, without a newline at its end. For a 405 and a 301 it is not sent, only of use
    /// in a log.
    pub message: String,
    form: Form,
}

/// What is sent besides the status.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// The message as plain text.
    Text,
    /// Neither headers nor a body.
    Bare,
    /// A location, without a body.
    Moved(String),
    /// A location, and a page that links to it.
    MovedPage(String),
}

impl Refusal {
    /// An answer of plain text, or with an empty body when `status` is 405.
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        let form = if status == 405 { Form::Bare } else { Form::Text };
        Self { status, message: message.into(), form }
    }

    /// 500: what the original answers to most that goes wrong.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(500, message)
    }

    /// 404 for a path that does not exist.
    pub(super) fn not_found() -> Self {
        Self::new(404, "404 page not found")
    }

    /// 301 to `target`. Go sends the page only to a GET.
    pub(super) fn moved(target: &str, with_page: bool) -> Self {
        let location = header_value(target);
        let message = format!("moved permanently to {location}");
        let form = if with_page { Form::MovedPage(location) } else { Form::Moved(location) };
        Self { status: 301, message, form }
    }

    /// The body to send, with the newline that the original ends it with.
    pub fn body(&self) -> String {
        match &self.form {
            Form::Text => format!("{}\n", self.message),
            Form::Bare | Form::Moved(_) => String::new(),
            Form::MovedPage(location) => {
                format!("<a href=\"{}\">Moved Permanently</a>.\n\n", html(location))
            }
        }
    }

    /// The headers to send besides those that every answer has: names with values.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        match &self.form {
            Form::Text => vec![
                ("Content-Type", "text/plain; charset=utf-8".to_owned()),
                ("X-Content-Type-Options", "nosniff".to_owned()),
            ],
            Form::Bare => Vec::new(),
            Form::Moved(location) => vec![("Location", location.clone())],
            Form::MovedPage(location) => vec![
                ("Content-Type", "text/html; charset=utf-8".to_owned()),
                ("Location", location.clone()),
            ],
        }
    }
}

/// `target` with everything that has no place in a header percent-encoded, so that no target, of
/// whatever origin, ends the header early.
fn header_value(target: &str) -> String {
    let mut value = String::with_capacity(target.len());
    for byte in target.bytes() {
        if byte.is_ascii_graphic() {
            value.push(char::from(byte));
        } else {
            value.push_str(&format!("%{byte:02x}"));
        }
    }
    value
}

/// The escapes of Go's `htmlEscape`.
fn html(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&#34;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_plain_text_that_ends_in_a_newline() {
        let refusal = Refusal::failed("no space left on device");
        assert_eq!(refusal.status, 500);
        assert_eq!(refusal.body(), "no space left on device\n");
        assert_eq!(
            refusal.headers(),
            [
                ("Content-Type", "text/plain; charset=utf-8".to_owned()),
                ("X-Content-Type-Options", "nosniff".to_owned())
            ]
        );
    }

    #[test]
    fn a_wrong_method_is_answered_with_nothing_but_the_status() {
        let refusal = Refusal::new(405, "POST is not a method of open");
        assert_eq!((refusal.body(), refusal.headers()), (String::new(), Vec::new()));
    }

    #[test]
    fn only_a_get_is_moved_with_a_page() {
        let page = Refusal::moved("/a?b=<'\">&c", true);
        assert_eq!(page.status, 301);
        assert_eq!(
            page.body(),
            "<a href=\"/a?b=&lt;&#39;&#34;&gt;&amp;c\">Moved Permanently</a>.\n\n"
        );
        assert_eq!(
            page.headers(),
            [
                ("Content-Type", "text/html; charset=utf-8".to_owned()),
                ("Location", "/a?b=<'\">&c".to_owned())
            ]
        );
        let bare = Refusal::moved("/a", false);
        assert_eq!(bare.body(), "");
        assert_eq!(bare.headers(), [("Location", "/a".to_owned())]);
    }

    #[test]
    fn a_location_cannot_break_out_of_its_header() {
        let refusal = Refusal::moved("/a?é \r\nX: y", true);
        assert_eq!(refusal.headers()[1], ("Location", "/a?%c3%a9%20%0d%0aX:%20y".to_owned()));
    }
}
