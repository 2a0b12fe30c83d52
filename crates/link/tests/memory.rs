//! What is special about links within a process: the name that stands for a port, and what nobody has to prove.

mod common;

use common::{frame, listen, read_frame};
use sinew_link::{Address, BindError, DialError, Dialer, Fill, Identity, LinkConfig, LinkError, Listener};
use sinew_wire::FrameKind;

fn dialer() -> Dialer {
    Dialer::new(Identity::generate(), LinkConfig::default())
}

#[tokio::test]
async fn a_name_is_taken_once_and_free_again_when_its_listener_goes() {
    let config = LinkConfig::default();
    let (mut listener, _directory) = listen("memory", &config, &Identity::generate()).await;
    let address = listener.address();
    let again = Listener::bind(&address, &Identity::generate(), &config).await.unwrap_err();
    assert!(matches!(again, BindError::InUse(_)), "{again:?}");
    assert_eq!(again.to_string(), format!("{address} is in use by another listener of this process"));
    // Whom it did not get does not have it taken away either.
    let link = dialer().dial(&address).await.unwrap();
    listener.accept().await.unwrap().establish().await.unwrap();
    drop(listener);
    assert!(matches!(dialer().dial(&address).await, Err(DialError::Refused(_))));
    let (mut reader, _writer) = link.split();
    assert_eq!(reader.fill().await.unwrap(), Fill::End, "the other end was dropped");
    Listener::bind(&address, &Identity::generate(), &config).await.unwrap();
}

#[tokio::test]
async fn who_is_not_expected_is_not_dialled() {
    let server = Identity::generate();
    let (mut listener, _directory) = listen("memory", &LinkConfig::default(), &server).await;
    let (dialer, wrong) = (dialer(), Identity::generate().peer_id());
    match dialer.dial_peer(&listener.address(), wrong).await {
        Err(DialError::WrongPeer { expected, actual, .. }) => {
            assert_eq!((expected, actual), (wrong, server.peer_id()));
        }
        other => panic!("{other:?}"),
    }
    dialer.dial_peer(&listener.address(), server.peer_id()).await.unwrap();
    let incoming = listener.accept().await.unwrap();
    assert_eq!(incoming.remote(), "this process");
    assert_eq!(incoming.establish().await.unwrap().peer(), dialer.peer_id(), "the first one to come");
}

#[tokio::test]
async fn who_dialled_and_is_not_taken_sees_the_end() {
    let config = LinkConfig { max_pending_handshakes: 1, ..LinkConfig::default() };
    let (mut listener, _directory) = listen("memory", &config, &Identity::generate()).await;
    let links = [dialer().dial(&listener.address()).await.unwrap(), dialer().dial(&listener.address()).await.unwrap()];
    let pending = listener.accept().await.unwrap();
    let [(mut first, _first_writer), (mut second, _second_writer)] = links.map(|link| link.split());
    // Beyond the pending handshakes, it is refused.
    tokio::select! {
        ended = second.fill() => assert_eq!(ended.unwrap(), Fill::End),
        accepted = listener.accept() => panic!("accepted {accepted:?}"),
    }
    pending.refuse();
    assert_eq!(first.fill().await.unwrap(), Fill::End);
    // And what waits in the line of a listener that goes.
    let (mut third, mut writer) = dialer().dial(&listener.address()).await.unwrap().split();
    drop(listener);
    assert_eq!(third.fill().await.unwrap(), Fill::End);
    let refused = writer.send(&mut vec![frame(FrameKind::Control, b"hello?")]).await;
    assert!(matches!(refused, Err(LinkError::Reset)), "{refused:?}");
}

#[tokio::test]
async fn a_link_is_made_before_it_is_accepted_and_outlives_both() {
    let (mut listener, _directory) = listen("memory", &LinkConfig::default(), &Identity::generate()).await;
    let (_reader, mut writer) = dialer().dial(&listener.address()).await.unwrap().split();
    writer.send(&mut vec![frame(FrameKind::Control, b"early")]).await.unwrap();
    let (mut reader, _writer) = listener.accept().await.unwrap().establish().await.unwrap().split();
    drop(listener);
    writer.send(&mut vec![frame(FrameKind::Control, b"late")]).await.unwrap();
    assert_eq!(read_frame(&mut reader).await.1, b"early");
    assert_eq!(read_frame(&mut reader).await.1, b"late");
}

#[tokio::test]
async fn a_full_line_of_dialled_links_holds_the_next_one_back() {
    let (mut listener, _directory) = listen("memory", &LinkConfig::default(), &Identity::generate()).await;
    let address = listener.address();
    let mut links = Vec::new();
    for _ in 0..128 {
        links.push(dialer().dial(&address).await.unwrap());
    }
    let impatient = LinkConfig { handshake_timeout: std::time::Duration::from_millis(50), ..LinkConfig::default() };
    let error = Dialer::new(Identity::generate(), impatient).dial(&address).await.unwrap_err();
    assert!(matches!(error, DialError::TimedOut { .. }), "{error:?}");
    let dialer = dialer();
    let (dialled, accepted) = tokio::join!(dialer.dial(&address), listener.accept());
    dialled.unwrap();
    accepted.unwrap();
}

#[tokio::test]
async fn nobody_there_is_known_at_once() {
    let error = dialer().dial(&Address::Memory("nobody".to_owned())).await.unwrap_err();
    assert!(matches!(error, DialError::Refused(_)), "{error:?}");
}
