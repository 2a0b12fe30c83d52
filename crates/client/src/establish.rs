use std::time::Duration;

use bytes::BytesMut;
use sinew_link::{Address, Dialer, Fill, LinkError, LinkReader, LinkWriter};
use sinew_wire::{Control, FrameKind, Hello, PROTOCOL_VERSION, PeerId, Welcome, encode_control};

use crate::ConnectError;

/// A link on which the node has said welcome.
#[derive(Debug)]
pub(crate) struct Established {
    pub(crate) server: Address,
    pub(crate) reader: LinkReader,
    pub(crate) writer: LinkWriter,
    pub(crate) welcome: Welcome,
}

/// Dials a server and introduces the client, all within `limit`.
pub(crate) async fn establish(
    dialer: &Dialer,
    server: &Address,
    hello: &Hello,
    limit: Duration,
) -> Result<Established, ConnectError> {
    match tokio::time::timeout(limit, introduce(dialer, server, hello)).await {
        Ok(established) => established,
        Err(_) => Err(ConnectError::Timeout { server: server.clone(), limit }),
    }
}

async fn introduce(dialer: &Dialer, server: &Address, hello: &Hello) -> Result<Established, ConnectError> {
    let link = dialer.dial(server).await?;
    let peer = link.peer();
    let (mut reader, mut writer) = link.split();
    let mut frame = BytesMut::new();
    encode_control(&Control::Hello(hello.clone()), &mut frame);
    let said = writer.send(&mut vec![frame.freeze()]).await;
    // A node that is full says so and hangs up, perhaps before it has read the hello: its reason tells more than an error
    // of ours.
    let welcome = match (answer(&mut reader).await, said) {
        (Err(Failed::Link(_)), Err(error)) | (Err(Failed::Link(error)), Ok(())) => {
            return Err(ConnectError::Link { server: server.clone(), source: error });
        }
        (Err(Failed::Refused(refusal)), _) => return Err(ConnectError::Refused { server: server.clone(), refusal }),
        (Err(Failed::Protocol(problem)), _) => return Err(ConnectError::Protocol { server: server.clone(), problem }),
        (Ok(welcome), _) => welcome,
    };
    check(&welcome, peer, hello)
        .map_err(|problem| ConnectError::Protocol { server: server.clone(), problem: problem.to_owned() })?;
    Ok(Established { server: server.clone(), reader, writer, welcome })
}

enum Failed {
    Link(LinkError),
    Refused(sinew_wire::Refusal),
    Protocol(String),
}

impl From<LinkError> for Failed {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Frame(error) => Self::Protocol(error.to_string()),
            other => Self::Link(other),
        }
    }
}

/// The node's first frame.
async fn answer(reader: &mut LinkReader) -> Result<Welcome, Failed> {
    let protocol = |problem: &str| Err(Failed::Protocol(problem.to_owned()));
    if reader.fill().await? == Fill::End {
        return protocol("it ended the link without an answer");
    }
    let Some(frame) = reader.next_frame()? else {
        return protocol("it ended the link without an answer");
    };
    if frame.kind != FrameKind::Control {
        return protocol("its first frame is no answer to the hello");
    }
    match Control::decode(frame.body) {
        Ok(Control::Welcome(welcome)) => Ok(welcome),
        Ok(Control::Goodbye(goodbye)) => Err(Failed::Refused(goodbye.reason)),
        Ok(_) => protocol("its first frame is no answer to the hello"),
        Err(error) => Err(Failed::Protocol(error.to_string())),
    }
}

/// Whether the welcome is one that this client can live with.
fn check(welcome: &Welcome, peer: PeerId, hello: &Hello) -> Result<(), &'static str> {
    if welcome.version == 0 || welcome.version > PROTOCOL_VERSION {
        return Err("it chose a protocol version that was not offered");
    }
    if welcome.node != peer {
        return Err("it calls itself by another peer id than it has proven");
    }
    if !hello.features.contains(welcome.features) {
        return Err("it chose features that were not offered");
    }
    if welcome.publish_window == 0 || welcome.max_open_acks == 0 || welcome.max_message_bytes == 0 {
        return Err("it lets nothing be published");
    }
    if welcome.keep_alive_ms == 0 || welcome.idle_timeout_ms == 0 {
        return Err("it gives no time between signs of life");
    }
    Ok(())
}
