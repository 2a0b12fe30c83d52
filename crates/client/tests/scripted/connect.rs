use std::time::Duration;

use sinew_client::{Client, ConnectError, Event, Identity, Limit, PeerId, Refusal};
use sinew_wire::{Control, Role, Welcome};

use crate::peer::{Delivery, Node, soon};

#[tokio::test]
async fn works_over_every_transport() {
    let mut nodes = vec![Node::on_unix().await];
    nodes.push(Node::on("quic://127.0.0.1:0").await);
    nodes.push(Node::on("tls://127.0.0.1:0").await);
    for mut node in nodes {
        let (client, mut peer) = node.connected().await;
        assert_eq!(client.peer_id(), peer.publisher);
        let (subscribed, asked) = tokio::join!(client.subscribe("a.b"), peer.confirm_next());
        let mut subscription = subscribed.expect("is subscribed");
        client.publish("a.b", "there").await.expect("is published");
        assert_eq!(peer.next_publish().await.messages[0].payload, b"there");
        peer.deliver(Delivery::to(asked.subscription, 1, &[b"back"])).await;
        match soon("a message", subscription.next()).await {
            Some(Event::Message(message)) => assert_eq!(message.payload().as_ref(), b"back"),
            other => panic!("expected a message, got {other:?}"),
        }
        let (closed, ()) = tokio::join!(client.close(), async move {
            peer.pong_next().await;
            peer.expect_goodbye().await;
        });
        closed.expect("is closed");
    }
}

#[tokio::test]
async fn introduces_itself_and_knows_whom_it_has_met() {
    let mut node = Node::on_unix().await;
    let identity = Identity::generate();
    let peer_id = identity.peer_id();
    let builder = node.builder().realm("lab").name("thermostat 7").identity(identity);
    let welcome = node.welcome();
    let (client, peer) = node.connected_by(builder, welcome.clone()).await;
    let hello = peer.hello.as_ref().expect("was said");
    assert_eq!((hello.realm.as_str(), hello.name.as_str(), hello.role), ("lab", "thermostat 7", Role::Client));
    assert_eq!((peer.publisher, client.peer_id()), (peer_id, peer_id));
    let connection = client.connection().expect("is connected");
    assert_eq!((connection.node, connection.session), (welcome.node, welcome.session));
    assert_eq!((connection.server.to_string(), connection.max_message_bytes), (node.url.clone(), 1 << 20));
}

#[tokio::test]
async fn clients_side_by_side_are_one_peer_and_two_publishers() {
    let mut node = Node::on("quic://127.0.0.1:0").await;
    let (one, first) = node.connected().await;
    let (other, second) = node.connected_by(node.builder().beside(&one), node.welcome()).await;
    assert_eq!(one.peer_id(), other.peer_id());
    assert_eq!(first.publisher, second.publisher);
    let instance = |hello: Option<sinew_wire::Hello>| hello.expect("was said").instance;
    assert_ne!(instance(first.hello), instance(second.hello));
}

#[tokio::test]
async fn a_full_node_is_an_error_that_names_the_limit() {
    let mut node = Node::on_unix().await;
    let refusal = Refusal::Limit { limit: Limit::Clients, allowed: 10_000 };
    let (connected, ()) = tokio::join!(node.builder().connect(), node.refuse_next(refusal.clone()));
    let error = connected.expect_err("is refused");
    assert_eq!(error.refusal(), Some(&refusal));
    assert!(error.to_string().ends_with("refused: limit max_clients reached: at most 10000"), "{error}");
    assert!(!error.is_final());
}

#[tokio::test]
async fn another_realm_is_final() {
    let mut node = Node::on_unix().await;
    let refusal = Refusal::Realm("default".to_owned());
    let (connected, ()) = tokio::join!(node.builder().connect(), node.refuse_next(refusal));
    assert!(connected.expect_err("is refused").is_final());
}

#[tokio::test]
async fn takes_the_first_server_that_answers() {
    let mut node = Node::on_unix().await;
    let servers = format!("unix:///nobody/here.sock, {}", node.url);
    let (connected, peer) = tokio::join!(sinew_client::connect(servers), node.accept());
    let client = connected.expect("connects to the second");
    assert_eq!(client.connection().map(|connection| connection.server.to_string()), Some(node.url.clone()));
    drop(peer);
}

#[tokio::test]
async fn says_what_is_wrong_with_the_servers() {
    assert!(matches!(Client::builder().connect().await, Err(ConnectError::NoServer)));
    assert!(matches!(sinew_client::connect("").await, Err(ConnectError::NoServer)));
    assert!(matches!(sinew_client::connect("nats://host").await, Err(ConnectError::Address(_))));
    let nobody = sinew_client::connect("unix:///nobody/here.sock").await;
    assert!(matches!(nobody, Err(ConnectError::Dial(_))), "{nobody:?}");
    let realm = Client::builder().server("unix:///x").realm("").connect().await;
    assert!(matches!(realm, Err(ConnectError::Options(_))));
}

#[tokio::test]
async fn a_node_that_says_nothing_is_given_up() {
    let mut node = Node::on_unix().await;
    let limit = Duration::from_millis(100);
    let builder = node.builder().connect_timeout(limit);
    let (connected, _silent) = tokio::join!(builder.connect(), node.accept_silently());
    assert!(matches!(connected, Err(ConnectError::Timeout { limit: told, .. }) if told == limit), "{connected:?}");
}

#[tokio::test]
async fn an_answer_against_the_protocol_is_an_error() {
    let mut node = Node::on_unix().await;
    let good = node.welcome();
    let bad = [
        Control::Pong { nonce: 1 },
        Control::Welcome(Welcome { version: 2, ..good.clone() }),
        Control::Welcome(Welcome { node: PeerId::from_public_key([9; 32]), ..good.clone() }),
        Control::Welcome(Welcome { features: sinew_wire::Features(u64::MAX), ..good.clone() }),
        Control::Welcome(Welcome { publish_window: 0, ..good.clone() }),
        Control::Welcome(Welcome { max_open_acks: 0, ..good.clone() }),
        Control::Welcome(Welcome { keep_alive_ms: 0, ..good }),
    ];
    for answer in bad {
        let builder = node.builder();
        let (connected, ()) = tokio::join!(builder.connect(), async {
            let mut peer = node.accept_silently().await;
            peer.send(answer.clone()).await;
        });
        assert!(matches!(connected, Err(ConnectError::Protocol { .. })), "{answer:?}: {connected:?}");
    }
}
