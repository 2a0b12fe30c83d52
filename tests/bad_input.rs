//! Peers that break the rules: each is told why, costs little, and harms nobody else.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use sinew_tests::stranger::{Said, Stranger, block, control_frame, frame, hello, publish, subscribe};
use sinew_tests::{Node, soon};
use sinew_wire::publish::Flags;
use sinew_wire::{Control, DecodeError, Hello, Limit, PROTOCOL_VERSION, Policy, Refusal, Role};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SCHEMES: [&str; 3] = ["quic", "tls", "unix"];

/// A node, and somebody on it who behaves.
struct Scene {
    node: Node,
    witness: Stranger,
}

impl Scene {
    async fn new(flags: &[&str]) -> Result<Self> {
        let node = Node::start(flags).await?;
        let mut witness = Stranger::welcomed(&node.url("unix")).await?;
        ensure!(witness.subscribe(1, "witness", Policy::DropOldest).await?.is_none());
        Ok(Self { node, witness })
    }

    /// The others notice nothing: a message still goes its way.
    async fn is_undisturbed(&mut self) -> Result<()> {
        let payload = block(&[], b"still here");
        self.witness.send(publish("witness", &payload, |_| {})).await?;
        loop {
            match self.witness.next().await? {
                Said::Run { .. } => break,
                Said::Control(_) | Said::Call(_) => {}
                Said::End => anyhow::bail!("the witness lost its link"),
            }
        }
        let credit = Control::DeliverCredit { subscription: 1, bytes: payload.len() as u64 };
        self.witness.control(&credit).await
    }

    /// Sends something on an admitted link of every transport and collects the node's reasons.
    async fn reasons(&mut self, bytes: impl Fn() -> Bytes) -> Result<Vec<Refusal>> {
        let mut reasons = Vec::new();
        for scheme in SCHEMES {
            let mut stranger = Stranger::welcomed(&self.node.url(scheme)).await?;
            stranger.send(bytes()).await?;
            reasons.push(stranger.goodbye().await?);
            self.is_undisturbed().await?;
        }
        Ok(reasons)
    }

    async fn refuses(&mut self, expected: &Refusal, bytes: impl Fn() -> Bytes) -> Result<()> {
        for reason in self.reasons(bytes).await? {
            ensure!(&reason == expected, "expected {expected:?}, got {reason:?}");
        }
        Ok(())
    }

    async fn calls_a_violation(&mut self, word: &str, bytes: impl Fn() -> Bytes) -> Result<()> {
        for reason in self.reasons(bytes).await? {
            ensure!(matches!(&reason, Refusal::Protocol(text) if text.contains(word)), "{word:?} is not in {reason:?}");
        }
        Ok(())
    }
}

const fn over(limit: Limit, allowed: usize) -> Refusal {
    Refusal::Limit { limit, allowed: allowed as u64 }
}

#[tokio::test]
async fn an_oversize_frame_is_refused_from_its_header() -> Result<()> {
    let mut scene = Scene::new(&[]).await?;
    let before = scene.node.resident()?;
    let run = sinew_wire::FrameLimits::default().run;
    scene.refuses(&over(Limit::FrameBytes, run), || frame(2, 0x7fff_ffff, b"")).await?;
    scene.refuses(&over(Limit::FrameBytes, 16 << 10), || frame(1, (16 << 10) + 1, b"")).await?;
    let grown = scene.node.resident()?.saturating_sub(before);
    ensure!(grown < 64 << 20, "the node grew by {grown} bytes for frames that never came");
    let refused = scene.node.metric(r#"sinew_limit_refused_total{limit="max_frame_bytes"}"#).await?;
    ensure!((refused - 6.0).abs() < 0.1, "{refused} refusals counted, 6 made");
    Ok(())
}

#[tokio::test]
async fn an_unknown_frame_kind_ends_the_link_with_a_reason() -> Result<()> {
    let mut scene = Scene::new(&[]).await?;
    scene.calls_a_violation("unknown frame kind 0x63", || frame(0x63, 3, b"abc")).await
}

#[tokio::test]
async fn garbage_before_the_hello_is_answered_in_words() -> Result<()> {
    let mut scene = Scene::new(&[]).await?;
    for scheme in SCHEMES {
        let mut stranger = Stranger::dial(&scene.node.url(scheme)).await?;
        stranger.send(Bytes::from_static(b"GET / HTTP/1.1\r\n\r\n")).await?;
        let reason = stranger.goodbye().await?;
        ensure!(matches!(reason, Refusal::Protocol(_) | Refusal::Limit { .. }), "{scheme}: {reason:?}");
        for first in [publish("a", &block(&[], b"1"), |_| {}), control_frame(&Control::Ping { nonce: 1 })] {
            let mut stranger = Stranger::dial(&scene.node.url(scheme)).await?;
            stranger.send(first).await?;
            let reason = stranger.goodbye().await?;
            ensure!(reason == Refusal::Protocol("the first frame is not a hello".to_owned()), "{scheme}: {reason:?}");
        }
        scene.is_undisturbed().await?;
    }
    Ok(())
}

#[tokio::test]
async fn plain_text_on_the_tls_port_is_cut_off() -> Result<()> {
    let mut scene = Scene::new(&[]).await?;
    let address = scene.node.url("tls").replace("tls://", "");
    let mut stream = TcpStream::connect(&address).await?;
    stream.write_all(b"CONNECT {\"verbose\":false}\r\nPING\r\n").await?;
    let mut answer = Vec::new();
    // A reset is as good an end as any.
    let _end = soon("the node to hang up", stream.read_to_end(&mut answer)).await?;
    scene.node.metric_becomes("sinew_handshakes_failed_total", |n| n >= 1.0).await?;
    scene.is_undisturbed().await
}

#[tokio::test]
async fn a_slow_handshake_is_cut_off_and_keeps_nobody_waiting() -> Result<()> {
    let mut scene = Scene::new(&["--set", "limits.handshake-timeout=300ms"]).await?;
    let address = scene.node.url("tls").replace("tls://", "");
    let mut silent = TcpStream::connect(&address).await?;
    let mut speechless = Vec::new();
    for scheme in SCHEMES {
        speechless.push(Stranger::dial(&scene.node.url(scheme)).await);
    }
    scene.is_undisturbed().await?;
    let mut answer = Vec::new();
    let _end = soon("the node to hang up", silent.read_to_end(&mut answer)).await?;
    // Over QUIC the node does not even know of a stream on which nothing was said.
    for mut stranger in speechless.into_iter().flatten() {
        ensure!(matches!(stranger.next().await?, Said::End | Said::Control(Control::Goodbye(_))));
    }
    scene.node.metric_becomes(r#"sinew_limit_refused_total{limit="handshake_timeout"}"#, |n| n >= 2.0).await?;
    Ok(())
}

#[tokio::test]
async fn half_a_frame_and_then_silence_runs_into_the_idle_limit() -> Result<()> {
    let mut scene = Scene::new(&["--set", "limits.idle-timeout=1s", "--set", "limits.keep-alive=200ms"]).await?;
    for scheme in SCHEMES {
        let mut stranger = Stranger::welcomed(&scene.node.url(scheme)).await?;
        stranger.send(frame(2, 1000, b"only the beginning")).await?;
        let start = Instant::now();
        let reason = loop {
            // The witness must say something now and then, to be no idler itself.
            scene.is_undisturbed().await?;
            match tokio::time::timeout(Duration::from_millis(200), stranger.goodbye()).await {
                Ok(reason) => break reason?,
                Err(_) => ensure!(start.elapsed() < Duration::from_secs(20), "{scheme}: still open"),
            }
        };
        ensure!(reason == Refusal::Limit { limit: Limit::IdleTime, allowed: 1000 }, "{scheme}: {reason:?}");
    }
    let refused = scene.node.metric(r#"sinew_limit_refused_total{limit="idle_timeout"}"#).await?;
    ensure!(refused == SCHEMES.len() as f64, "{refused}");
    Ok(())
}

#[tokio::test]
async fn frames_out_of_state_end_the_link() -> Result<()> {
    let mut scene = Scene::new(&[]).await?;
    scene.calls_a_violation("second hello", || control_frame(&Control::Hello(hello()))).await?;
    scene.calls_a_violation("only a node sends", || control_frame(&Control::PublishCredit { bytes: 1 })).await?;
    scene.calls_a_violation("does not send deliver", || frame(3, 4, b"abcd")).await?;
    scene.calls_a_violation("control frame", || frame(1, 4, &[0xff; 4])).await?;
    scene.calls_a_violation("cut short", || frame(2, 4, &[0; 4])).await?;
    let twice = || {
        let frame = control_frame(&subscribe(5, "a", Policy::DropOldest));
        Bytes::from([&frame[..], &frame[..]].concat())
    };
    scene.calls_a_violation("in use", twice).await?;
    let credit = || {
        let subscribe = control_frame(&subscribe(5, "a", Policy::DropOldest));
        let credit = control_frame(&Control::DeliverCredit { subscription: 5, bytes: u64::MAX });
        Bytes::from([&subscribe[..], &credit[..]].concat())
    };
    scene.calls_a_violation("more delivery credit", credit).await
}

#[tokio::test]
async fn another_realm_an_old_version_and_a_node_are_turned_away() -> Result<()> {
    let node = Node::start(&[]).await?;
    let cases = [
        (Hello { realm: "other".to_owned(), ..hello() }, Refusal::Realm("other".to_owned())),
        (Hello { version: 0, ..hello() }, Refusal::Version { node: PROTOCOL_VERSION }),
        (Hello { role: Role::Node, ..hello() }, Refusal::Denied("this node stays alone".to_owned())),
    ];
    for (hello, expected) in cases {
        let mut stranger = Stranger::dial(&node.url("unix")).await?;
        stranger.control(&Control::Hello(hello)).await?;
        ensure!(stranger.goodbye().await? == expected);
    }
    Ok(())
}

#[tokio::test]
async fn an_invalid_topic_is_refused_with_position_and_rule() -> Result<()> {
    let mut scene = Scene::new(&[]).await?;
    for topic in ["", "a..b", "a.*", "a b", "a.>", &"x".repeat(513), &["t"; 33].join(".")] {
        for reason in scene.reasons(|| publish(topic, &block(&[], b"1"), |_| {})).await? {
            ensure!(matches!(reason, Refusal::InvalidName(_)), "{topic:?}: {reason:?}");
        }
    }
    scene.refuses(&Refusal::Reserved, || publish("$sys.a", &block(&[], b"1"), |_| {})).await?;
    // A bad pattern is answered, and the link lives on.
    let mut stranger = Stranger::welcomed(&scene.node.url("quic")).await?;
    let refusal = stranger.subscribe(1, "a.>.b", Policy::DropOldest).await?;
    ensure!(matches!(refusal, Some(Refusal::InvalidName(_))), "{refusal:?}");
    stranger.ping().await
}

#[tokio::test]
async fn one_subscription_too_many_is_refused_by_name_and_the_others_stay() -> Result<()> {
    let mut scene =
        Scene::new(&["--set", "limits.max-subscriptions-per-client=10", "--set", "limits.max-subscriptions=15"])
            .await?;
    let mut one = Stranger::welcomed(&scene.node.url("unix")).await?;
    for number in 0..10 {
        ensure!(one.subscribe(number, "a", Policy::DropOldest).await?.is_none());
    }
    let refused = one.subscribe(10, "a", Policy::DropOldest).await?;
    ensure!(refused == Some(over(Limit::SubscriptionsPerClient, 10)), "{refused:?}");
    one.ping().await?;
    let mut two = Stranger::welcomed(&scene.node.url("unix")).await?;
    for number in 0..4 {
        ensure!(two.subscribe(number, "a", Policy::DropOldest).await?.is_none());
    }
    let refused = two.subscribe(4, "a", Policy::DropOldest).await?;
    ensure!(refused == Some(over(Limit::Subscriptions, 15)), "{refused:?}");
    scene.is_undisturbed().await
}

#[tokio::test]
async fn bombs_are_refused_before_they_go_off() -> Result<()> {
    let mut scene = Scene::new(&[]).await?;
    let before = scene.node.resident()?;
    // Headers: more than fit, and a length that runs past the end.
    let headers = vec![b'x'; 4097];
    scene.refuses(&over(Limit::HeaderBytes, 4096), || publish("a", &block(&headers, b""), |_| {})).await?;
    scene
        .calls_a_violation("headers is cut short", || publish("a", &block(&[9, 0xff, 0xff, b'k'], b""), |_| {}))
        .await?;
    // Compression: an announced gigabyte, and a stream that unpacks to more than it says.
    let packed = |len: u32| {
        move || {
            let zeros = sinew_wire::pack::pack(&block(&[], &vec![0; 200_000])).expect("zeros shrink");
            publish("a", &zeros, |header| {
                header.flags = Flags::PACKED;
                header.entries_len = len;
            })
        }
    };
    let run = sinew_wire::FrameLimits::default().run;
    scene.refuses(&over(Limit::FrameBytes, run), packed(1 << 30)).await?;
    scene.calls_a_violation("packed entries", packed(100_000)).await?;
    // A count that is not true.
    scene
        .calls_a_violation("as many messages", || publish("a", &block(&[], b"1"), |header| header.messages = 7))
        .await?;
    scene.calls_a_violation("sequence number", || publish("a", &block(&[], b"1"), |h| h.first_seq = u64::MAX)).await?;
    // A payload over the limit in a frame within its own.
    let big = vec![0; (1 << 20) + 1];
    scene.refuses(&over(Limit::MessageBytes, 1 << 20), || publish("a", &block(&[], &big), |_| {})).await?;
    let grown = scene.node.resident()?.saturating_sub(before);
    ensure!(grown < 64 << 20, "the node grew by {grown} bytes");
    Ok(())
}

#[tokio::test]
async fn publishing_beyond_the_credit_ends_the_link() -> Result<()> {
    let mut scene = Scene::new(&[]).await?;
    let mut stuck = Stranger::welcomed(&scene.node.url("unix")).await?;
    ensure!(stuck.subscribe(1, "a", Policy::Block).await?.is_none());
    let mut pushy = Stranger::welcomed(&scene.node.url("unix")).await?;
    let run = publish("a", &block(&[], &vec![0; 100_000]), |_| {});
    for _ in 0..40 {
        // The node may hang up while we are still writing.
        if pushy.send(run.clone()).await.is_err() {
            break;
        }
    }
    let reason = pushy.goodbye().await?;
    ensure!(reason == over(Limit::PublishCredit, 1 << 20), "{reason:?}");
    scene.is_undisturbed().await
}

#[tokio::test]
async fn who_does_not_read_its_answers_is_closed() -> Result<()> {
    let mut scene = Scene::new(&[]).await?;
    let mut deaf = Stranger::welcomed(&scene.node.url("unix")).await?;
    let pings = Bytes::from(control_frame(&Control::Ping { nonce: 1 }).repeat(10_000));
    for _ in 0..200 {
        if deaf.send(pings.clone()).await.is_err() {
            break;
        }
    }
    scene.node.metric_becomes(r#"sinew_limit_refused_total{limit="control_queue"}"#, |n| n >= 1.0).await?;
    scene.is_undisturbed().await
}

#[test]
fn decode_errors_name_the_limit() {
    let error = DecodeError::TooLarge { limit: Limit::FrameBytes, actual: 9, allowed: 8 };
    assert_eq!(error.to_string(), "max_frame_bytes is 9, the limit is 8");
}
