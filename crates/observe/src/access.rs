//! Who may ask the admin server what.
//!
//! Whoever sits at the host (asks from a loopback address, or from the address that is asked) needs nothing; anybody else has to
//! bring the token, except for what says only whether the node is
//! well ([`OPEN`]). A page in a browser on the host is not somebody who sits there: its requests name the host that the page
//! came from, and by that are told apart (DNS rebinding).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use serde_json::json;
use subtle::ConstantTimeEq;

use crate::admin::error;

/// What anybody may ask: an orchestrator, a load balancer, a collector of metrics.
const OPEN: [&str; 3] = ["/livez", "/readyz", "/metrics"];

/// The cookie that holds the token.
const COOKIE: &str = "sinew_token";

/// The rule of one admin server.
#[derive(Debug, Clone)]
pub(crate) struct Access(Arc<Rule>);

#[derive(Debug)]
struct Rule {
    token: Option<String>,
}

/// The two ends of the connection over which a request comes; put into it by the connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends {
    from: IpAddr,
    to: IpAddr,
}

impl Ends {
    pub(crate) fn new(from: SocketAddr, to: SocketAddr) -> Self {
        Self { from: from.ip().to_canonical(), to: to.ip().to_canonical() }
    }

    fn are_on_one_host(self) -> bool {
        self.from.is_loopback() || self.from == self.to
    }
}

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Allowed,
    /// It brings the token in its address: to be put into a cookie.
    Entered,
    /// It is of a page that came from elsewhere.
    Foreign,
    /// Without the token, or with another one.
    Unknown {
        tried: bool,
    },
}

impl Access {
    pub(crate) fn new(token: Option<String>) -> Self {
        Self(Arc::new(Rule { token }))
    }
}

impl Rule {
    fn judge(&self, ends: Option<Ends>, uri: &Uri, headers: &HeaderMap) -> Verdict {
        if OPEN.contains(&uri.path()) {
            return Verdict::Allowed;
        }
        let asked = uri.query().filter(|_| uri.path() == "/").and_then(token_in_query);
        if asked.is_some_and(|token| self.is_token(token)) {
            return Verdict::Entered;
        }
        let brought = bearer(headers).or_else(|| cookie(headers));
        if brought.is_some_and(|token| self.is_token(token)) {
            return Verdict::Allowed;
        }
        match ends.filter(|ends| ends.are_on_one_host()) {
            Some(ends) if is_own_name(headers, ends.to) => Verdict::Allowed,
            Some(_) => Verdict::Foreign,
            None => Verdict::Unknown { tried: asked.or(brought).is_some() },
        }
    }

    fn is_token(&self, given: &str) -> bool {
        // As long for any two texts of one length: how much of a guess is right is not to be measured.
        self.token.as_ref().is_some_and(|token| token.as_bytes().ct_eq(given.as_bytes()).into())
    }
}

/// Whether the request is for this host, by the name that whoever made it knows.
fn is_own_name(headers: &HeaderMap, own: IpAddr) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next().and_then(|host| host.to_str().ok()), hosts.next()) else { return false };
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let is_own = |ip: IpAddr| ip.to_canonical().is_loopback() || ip.to_canonical() == own;
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(is_own)
}

/// Lets a request through, or answers it.
pub(crate) async fn check(State(access): State<Access>, request: Request, next: Next) -> Response {
    // Without ends it comes from nobody we know.
    let ends = request.extensions().get::<Ends>().copied();
    let is_page = request.uri().path() == "/";
    match access.0.judge(ends, request.uri(), request.headers()) {
        Verdict::Allowed => next.run(request).await,
        Verdict::Entered => enter(access.0.token.as_deref().unwrap_or_default()),
        Verdict::Foreign => {
            let own = ends.map(|ends| ends.to);
            let detail = json!({ "allowed": ["localhost", "127.0.0.1", "[::1]", own] });
            error(StatusCode::FORBIDDEN, "the request names another host than this one", detail)
        }
        Verdict::Unknown { tried } if is_page => crate::dashboard::token_page(tried),
        Verdict::Unknown { tried } => {
            let problem = if tried { "not the admin token of this node" } else { "the admin token is missing" };
            let detail = json!({ "header": "Authorization: Bearer TOKEN", "cookie": COOKIE });
            let refused = error(StatusCode::UNAUTHORIZED, problem, detail);
            ([(header::WWW_AUTHENTICATE, "Bearer")], refused).into_response()
        }
    }
}

/// Keeps the token in the browser, out of the reach of scripts and of other sites, and out of its history.
fn enter(token: &str) -> Response {
    let cookie = format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict");
    let headers = [(header::SET_COOKIE, cookie), (header::CACHE_CONTROL, "no-store".to_owned())];
    (headers, Redirect::to("/")).into_response()
}

/// Of characters that mean themselves in an address, so nothing is decoded.
fn token_in_query(query: &str) -> Option<&str> {
    query.split('&').find_map(|pair| pair.strip_prefix("token="))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';'));
    pairs.find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "a-token-of-thirty-one-characters";

    fn rule(token: Option<&str>) -> Rule {
        Rule { token: token.map(str::to_owned) }
    }

    fn ends(from: &str) -> Option<Ends> {
        let from = SocketAddr::new(from.parse().expect("an address"), 50_000);
        Some(Ends::new(from, SocketAddr::from(([10, 0, 0, 5], 4600))))
    }

    fn judge(rule: &Rule, from: &str, path: &str, headers: &[(header::HeaderName, &str)]) -> Verdict {
        let map = headers.iter().map(|(name, value)| (name.clone(), value.parse().expect("a header value")));
        let uri = path.parse().expect("a path");
        rule.judge(ends(from), &uri, &map.collect())
    }

    #[test]
    fn from_this_host_it_takes_a_name_of_this_host() {
        let rule = rule(Some(TOKEN));
        for own in ["localhost:4600", "LOCALHOST", "127.0.0.1:4600", "127.9.9.9", "[::1]:4600", "[::1]", "10.0.0.5:1"] {
            let verdict = judge(&rule, "127.0.0.1", "/api/v1/node", &[(header::HOST, own)]);
            assert_eq!(verdict, Verdict::Allowed, "{own}");
            assert_eq!(judge(&rule, "::ffff:127.0.0.1", "/", &[(header::HOST, own)]), Verdict::Allowed, "{own}");
            assert_eq!(judge(&rule, "10.0.0.5", "/", &[(header::HOST, own)]), Verdict::Allowed, "{own}, from itself");
        }
        for other in
            ["evil.example", "evil.example:4600", "localhost.evil.example", "10.0.0.6", "", "[", "127.0.0.1.nip.io"]
        {
            let verdict = judge(&rule, "::1", "/api/v1/node", &[(header::HOST, other)]);
            assert_eq!(verdict, Verdict::Foreign, "{other}");
        }
        assert_eq!(judge(&rule, "127.0.0.1", "/", &[]), Verdict::Foreign, "it names none");
        let twice = [(header::HOST, "localhost"), (header::HOST, "evil.example")];
        assert_eq!(judge(&rule, "127.0.0.1", "/", &twice[..1]), Verdict::Allowed);
        let mut map: HeaderMap = HeaderMap::new();
        twice.iter().for_each(|(name, value)| _ = map.append(name, value.parse().expect("a header value")));
        let uri = Uri::from_static("/");
        assert_eq!(rule.judge(ends("127.0.0.1"), &uri, &map), Verdict::Foreign, "two names");
    }

    #[test]
    fn from_elsewhere_it_takes_the_token() {
        let with = rule(Some(TOKEN));
        let bearer = format!("Bearer {TOKEN}");
        let cookie = format!("theme=dark; {COOKIE}={TOKEN}");
        let own = (header::HOST, "localhost");
        let unknown = |tried| Verdict::Unknown { tried };
        let ask = |headers: &[(header::HeaderName, &str)]| judge(&with, "192.0.2.7", "/api/v1/node", headers);
        assert_eq!(ask(std::slice::from_ref(&own)), unknown(false), "a name alone opens nothing");
        assert_eq!(ask(&[(header::AUTHORIZATION, &bearer)]), Verdict::Allowed);
        assert_eq!(ask(&[(header::COOKIE, &cookie)]), Verdict::Allowed);
        assert_eq!(ask(&[(header::AUTHORIZATION, "Bearer another-token")]), unknown(true));
        assert_eq!(ask(&[(header::AUTHORIZATION, TOKEN)]), unknown(false), "no scheme");
        assert_eq!(ask(&[(header::COOKIE, "sinew_token=x")]), unknown(true));
        let longer_name = format!("x{COOKIE}={TOKEN}");
        assert_eq!(ask(&[(header::COOKIE, &longer_name)]), unknown(false));
        let none = rule(None);
        assert_eq!(with.judge(None, &Uri::from_static("/"), &HeaderMap::new()), unknown(false), "from nowhere");
        for path in ["/", "/api/v1/node", "/api/v1/live", "/dashboard/x"] {
            assert_eq!(judge(&none, "192.0.2.7", path, &[]), unknown(false), "{path}");
            let empty = judge(&none, "192.0.2.7", path, &[(header::AUTHORIZATION, "Bearer ")]);
            assert_ne!(empty, Verdict::Allowed, "{path}");
        }
        // With the token even a page that came through a proxy of another name.
        let through = [(header::HOST, "mesh.example"), (header::AUTHORIZATION, &*bearer)];
        assert_eq!(judge(&with, "127.0.0.1", "/api/v1/node", &through), Verdict::Allowed);
    }

    #[test]
    fn the_token_in_an_address_is_taken_for_the_page_only() {
        let rule = rule(Some(TOKEN));
        let ask = |path: &str| judge(&rule, "192.0.2.7", path, &[]);
        assert_eq!(ask(&format!("/?token={TOKEN}")), Verdict::Entered);
        assert_eq!(ask(&format!("/?a=b&token={TOKEN}")), Verdict::Entered);
        assert_eq!(ask("/?token=x"), Verdict::Unknown { tried: true });
        assert_eq!(ask(&format!("/api/v1/node?token={TOKEN}")), Verdict::Unknown { tried: false });
    }

    #[test]
    fn whether_the_node_is_well_is_told_to_anybody() {
        for path in OPEN {
            assert_eq!(judge(&rule(None), "192.0.2.7", path, &[]), Verdict::Allowed);
            assert_eq!(judge(&rule(None), "127.0.0.1", path, &[(header::HOST, "evil.example")]), Verdict::Allowed);
        }
        assert_ne!(judge(&rule(None), "192.0.2.7", "/metrics/", &[]), Verdict::Allowed);
    }
}
