use sinew_wire::{Features, Hello, PROTOCOL_VERSION, Refusal, Role, Welcome};

use crate::config::GatewayConfig;

/// What this node can do beyond the base protocol.
const FEATURES: Features = Features::LZ4;

/// Decides about a peer that said hello: the one place where realm, version and (with realm keys) permission are
/// checked. Everything that enters the node as a session has passed here.
pub(crate) fn admit(hello: &Hello, session: u64, config: &GatewayConfig) -> Result<Welcome, Refusal> {
    if hello.version < PROTOCOL_VERSION {
        return Err(Refusal::Version { node: PROTOCOL_VERSION });
    }
    if hello.realm != config.realm {
        return Err(Refusal::Realm(hello.realm.clone()));
    }
    if hello.role != Role::Client {
        return Err(Refusal::Denied("this node accepts clients only".to_owned()));
    }
    Ok(Welcome {
        version: PROTOCOL_VERSION,
        session,
        node: config.node,
        features: hello.features.common(FEATURES),
        publish_window: config.publish_window,
        max_message_bytes: config.message.payload as u64,
        max_header_bytes: config.message.headers as u64,
        keep_alive_ms: config.keep_alive.as_millis() as u64,
        idle_timeout_ms: config.idle_timeout.as_millis() as u64,
    })
}

#[cfg(test)]
mod tests {
    use sinew_wire::PeerId;

    use super::*;

    fn hello() -> Hello {
        Hello {
            version: PROTOCOL_VERSION,
            role: Role::Client,
            realm: "default".to_owned(),
            instance: 7,
            name: String::new(),
            features: Features(u64::MAX),
        }
    }

    fn config() -> GatewayConfig {
        GatewayConfig::new(PeerId::from_public_key([1; 32]))
    }

    #[test]
    fn a_client_of_the_realm_is_welcome_and_told_the_limits() {
        let welcome = admit(&hello(), 3, &config()).expect("is admitted");
        assert_eq!((welcome.session, welcome.max_message_bytes), (3, 1 << 20));
        assert_eq!(welcome.features, FEATURES, "only what both have");
    }

    #[test]
    fn another_realm_an_older_version_and_a_node_are_refused() {
        let realm = Hello { realm: "other".to_owned(), ..hello() };
        assert_eq!(admit(&realm, 1, &config()), Err(Refusal::Realm("other".to_owned())));
        let version = Hello { version: 0, ..hello() };
        assert_eq!(admit(&version, 1, &config()), Err(Refusal::Version { node: PROTOCOL_VERSION }));
        let node = Hello { role: Role::Node, ..hello() };
        assert!(matches!(admit(&node, 1, &config()), Err(Refusal::Denied(_))));
    }

    #[test]
    fn a_newer_client_speaks_our_version() {
        let newer = Hello { version: PROTOCOL_VERSION + 1, ..hello() };
        assert_eq!(admit(&newer, 1, &config()).map(|welcome| welcome.version), Ok(PROTOCOL_VERSION));
    }
}
