use sinew_wire::{Features, Hello, PROTOCOL_VERSION, Refusal, Role, Welcome};

use crate::config::GatewayConfig;

/// What a peer is let in as.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admitted {
    /// An application, with what it is told.
    Client(Welcome),
    /// Another node of the realm, which the mesh goes on with.
    Node,
}

/// Decides about a peer that said hello on a listener, by the rule that holds at every door: [`Hello::admitted_to`].
/// (The other door is that of the mesh, for links that come over the overlay.)
pub(crate) fn admit(hello: &Hello, session: u64, config: &GatewayConfig) -> Result<Admitted, Refusal> {
    hello.admitted_to(&config.realm)?;
    if hello.role == Role::Node {
        return Ok(Admitted::Node);
    }
    Ok(Admitted::Client(Welcome {
        version: PROTOCOL_VERSION,
        session,
        node: config.node,
        features: hello.features.common(Features::OURS),
        publish_window: config.publish_window,
        max_open_acks: config.max_open_acks as u64,
        max_message_bytes: config.message.payload as u64,
        max_header_bytes: config.message.headers as u64,
        keep_alive_ms: config.keep_alive.as_millis() as u64,
        idle_timeout_ms: config.idle_timeout.as_millis() as u64,
    }))
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
        let Ok(Admitted::Client(welcome)) = admit(&hello(), 3, &config()) else { panic!("is not admitted") };
        assert_eq!((welcome.session, welcome.max_open_acks, welcome.max_message_bytes), (3, 8_192, 1 << 20));
        assert_eq!(welcome.features, Features::OURS, "only what both have");
    }

    #[test]
    fn another_realm_and_an_older_version_are_refused_to_clients_and_nodes() {
        let realm = Hello { realm: "other".to_owned(), ..hello() };
        assert_eq!(admit(&realm, 1, &config()), Err(Refusal::Realm("other".to_owned())));
        let version = Hello { version: 0, ..hello() };
        assert_eq!(admit(&version, 1, &config()), Err(Refusal::Version { node: PROTOCOL_VERSION }));
        let node = Hello { role: Role::Node, ..realm };
        assert_eq!(admit(&node, 1, &config()), Err(Refusal::Realm("other".to_owned())));
        let node = Hello { role: Role::Node, ..hello() };
        assert_eq!(admit(&node, 1, &config()), Ok(Admitted::Node));
    }

    #[test]
    fn a_newer_client_speaks_our_version() {
        let newer = Hello { version: PROTOCOL_VERSION + 1, ..hello() };
        let admitted = admit(&newer, 1, &config());
        assert!(matches!(admitted, Ok(Admitted::Client(welcome)) if welcome.version == PROTOCOL_VERSION));
    }
}
