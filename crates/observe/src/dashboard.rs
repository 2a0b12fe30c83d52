//! The live view of a node: a page at `/` and its files below `/dashboard/`, all of them in the binary.
//!
//! The page asks nobody but the node it came from, and its policy lets the browser hold it to that.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;
use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;

/// What the page may load and ask: its own node, and nothing written into its own text.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The same for the page that asks for a token. It has to stand alone, because nothing else is answered without one:
/// its style is in it, and known by its hash.
const TOKEN_POLICY: &str = "default-src 'none'; style-src 'sha256-adAVp6WaPWRfMVMXQ+DAWtzmygZzgiPzVXSI+mbQTXo='; \
                            base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const TOKEN_PAGE: &str = include_str!("../dashboard/token.html");

/// What a browser is told with every file, beside its policy.
const HEADERS: [(HeaderName, &str); 3] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
];

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const ICON: &str = "image/svg+xml";
const SCRIPT: &str = "text/javascript; charset=utf-8";

struct File {
    path: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

macro_rules! files {
    ($($kind:ident $path:literal,)*) => {
        [$(File { path: $path, kind: $kind, bytes: include_bytes!(concat!("../dashboard/", $path)) },)*]
    };
}

static FILES: &[File] = &files![
    HTML "index.html",
    CSS "style.css",
    CSS "topology.css",
    ICON "favicon.svg",
    SCRIPT "js/alarms.js",
    SCRIPT "js/boot.js",
    SCRIPT "js/charts.js",
    SCRIPT "js/detail.js",
    SCRIPT "js/dom.js",
    SCRIPT "js/events.js",
    SCRIPT "js/feed.js",
    SCRIPT "js/figures.js",
    SCRIPT "js/format.js",
    SCRIPT "js/history.js",
    SCRIPT "js/keys.js",
    SCRIPT "js/layout.js",
    SCRIPT "js/main.js",
    SCRIPT "js/panels.js",
    SCRIPT "js/tables.js",
    SCRIPT "js/theme.js",
    SCRIPT "js/topology.js",
    SCRIPT "vendor/uplot/uPlot.iife.min.js",
    CSS "vendor/uplot/uPlot.min.css",
];

/// A tag for each of [`FILES`], by its content.
static TAGS: LazyLock<Vec<String>> = LazyLock::new(|| FILES.iter().map(|file| tag(file.bytes)).collect());

/// The page at `/`, and what it loads.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/", get(|headers: HeaderMap| async move { file("index.html", &headers) })).route(
        "/dashboard/{*path}",
        get(|Path(path): Path<String>, headers: HeaderMap| async move { file(&path, &headers) }),
    )
}

/// The answer to somebody who asks for `/` and has no token, or not the right one (`refused`): a page that asks for it
/// and sends it as `/?token=T`.
#[allow(dead_code, reason = "until the admin server asks for tokens")]
pub(crate) fn token_page(refused: bool) -> Response {
    let message = if refused {
        "That is not the token of this node."
    } else {
        "This node shows its live view to those who have its admin token."
    };
    let page = Html(TOKEN_PAGE.replace("<!--message-->", message));
    let own = [(header::CONTENT_SECURITY_POLICY, TOKEN_POLICY), (header::CACHE_CONTROL, "no-store")];
    (StatusCode::UNAUTHORIZED, HEADERS, own, page).into_response()
}

/// The file, or word that the browser's copy of it is current. Browsers ask each time: after an upgrade of the node
/// none shows the old page.
fn file(path: &str, headers: &HeaderMap) -> Response {
    let Some((file, tag)) = FILES.iter().zip(TAGS.iter()).find(|(file, _)| file.path == path) else {
        return (StatusCode::NOT_FOUND, HEADERS, "no such file\n").into_response();
    };
    let own = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_TYPE, file.kind),
        (header::ETAG, tag),
    ];
    if is_current(headers, tag) {
        return (StatusCode::NOT_MODIFIED, HEADERS, own).into_response();
    }
    (HEADERS, own, file.bytes).into_response()
}

/// Whether the asker has what `tag` names (RFC 9110, `If-None-Match`).
fn is_current(headers: &HeaderMap, tag: &str) -> bool {
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    known.flat_map(|value| value.split(',')).any(|one| {
        let one = one.trim();
        one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag
    })
}

fn tag(bytes: &[u8]) -> String {
    // The same for the same bytes in each process of one build; between builds it may change, which costs one answer.
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    format!("\"{:016x}\"", hasher.finish())
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;

    use super::*;

    fn asked(path: &str, known: Option<&str>) -> Response {
        let mut headers = HeaderMap::new();
        if let Some(known) = known {
            headers.insert(header::IF_NONE_MATCH, known.parse().expect("a header value"));
        }
        file(path, &headers)
    }

    #[test]
    fn a_file_comes_once_and_then_only_when_it_changed() {
        let first = asked("index.html", None);
        assert_eq!(first.status(), StatusCode::OK);
        assert_eq!(first.headers()[header::CONTENT_TYPE], HTML);
        let tag = first.headers()[header::ETAG].to_str().expect("plain text").to_owned();
        for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
            let again = asked("index.html", Some(&known));
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{known}");
            assert_eq!(again.headers()[header::ETAG], tag.as_str());
        }
        assert_eq!(asked("index.html", Some("\"other\"")).status(), StatusCode::OK);
        assert_eq!(asked("style.css", Some(&tag)).status(), StatusCode::OK, "each file has a tag of its own");
    }

    #[test]
    fn nothing_but_the_files_is_found() {
        for path in ["", "..", "../Cargo.toml", "/index.html", "vendor/uplot", "token.html"] {
            assert_eq!(asked(path, None).status(), StatusCode::NOT_FOUND, "{path}");
        }
    }

    #[test]
    fn the_page_names_only_files_that_are_there() {
        let text = |path: &str| {
            let file = FILES.iter().find(|file| file.path == path).expect("the file is embedded");
            std::str::from_utf8(file.bytes).expect("text")
        };
        let page = text("index.html");
        let mut named = 0;
        for part in page.split("\"/dashboard/").skip(1) {
            let path = part.split('"').next().expect("split gives one part at least");
            assert_eq!(asked(path, None).status(), StatusCode::OK, "{path}");
            named += 1;
        }
        assert!(named > 0);
        for file in FILES.iter().filter(|file| file.path.starts_with("js/")) {
            for part in text(file.path).split(" from './").skip(1) {
                let path = format!("js/{}", part.split('\'').next().expect("split gives one part at least"));
                assert_eq!(asked(&path, None).status(), StatusCode::OK, "{path}, imported by {}", file.path);
            }
        }
        assert!(!page.contains("<style") && !page.contains("style=") && !page.contains("http"));
    }

    #[test]
    fn the_token_page_stands_alone_and_its_style_is_the_one_of_its_policy() {
        let style = TOKEN_PAGE.split("<style>").nth(1).and_then(|rest| rest.split("</style>").next());
        let hash = ring::digest::digest(&ring::digest::SHA256, style.expect("it has a style").as_bytes());
        let source = format!("'sha256-{}'", BASE64_STANDARD.encode(hash));
        assert!(TOKEN_POLICY.contains(&source), "the policy must name {source}");
        for outside in ["src=", "href=", "http:", "https:", "<script"] {
            assert!(!TOKEN_PAGE.contains(outside), "{outside}");
        }
        for refused in [false, true] {
            let page = token_page(refused);
            assert_eq!(page.status(), StatusCode::UNAUTHORIZED);
            assert_eq!(page.headers()[header::CACHE_CONTROL], "no-store");
        }
    }
}
