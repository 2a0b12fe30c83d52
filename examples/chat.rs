//! A chat in the terminal: rooms are topics, and the mesh does the rest.
//!
//! ```text
//! cargo run --release -- up                                            # a node, in a terminal of its own
//! cargo run -p sinew-examples --example chat -- --name ada             # a terminal for ada
//! cargo run -p sinew-examples --example chat -- --name bob             # and one for bob
//! ```
//!
//! A line is a message to the room, `/room NAME` goes to another room, `/quit` or end of input leaves. Stop the node and
//! start it again while you chat: both clients say so and come back by themselves.
//!
//! Shows: a wildcard subscription, a report (how many hear me?), headers, gaps, and connection events.

use anyhow::Result;
use clap::Parser;
use sinew_client::{Client, ConnectionEvent, Event, Message, Subscription};
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin};

#[derive(Parser)]
#[command(about = "A chat in the terminal")]
struct Options {
    /// Your name: a word without dots or wildcards.
    #[arg(long)]
    name: String,
    /// The room to begin in: a word, too.
    #[arg(long, default_value = "lobby")]
    room: String,
    /// The node, or several separated by commas.
    #[arg(long, env = "SINEW_SERVER", default_value = "quic://127.0.0.1:4400")]
    server: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let Options { name, room, server } = Options::parse();
    let client = Client::builder().server(server).name(format!("chat of {name}")).connect().await?;
    let mut events = client.events();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut messages = enter(&client, &room).await?;
    let mut room = room;

    loop {
        tokio::select! {
            line = next_line(&mut lines) => match line?.as_deref().map(str::trim) {
                None | Some("/quit") => break,
                Some("") => {}
                Some(line) => match line.strip_prefix("/room ") {
                    Some(other) => match enter(&client, other.trim()).await {
                        // The old subscription ends here, as its stream is dropped.
                        Ok(entered) => (messages, room) = (entered, other.trim().to_owned()),
                        Err(error) => eprintln!("* {error}"),
                    },
                    None => say(&client, &room, &name, line),
                },
            },
            Some(event) = messages.next() => show(event, &client),
            Some(event) = events.next() => match event {
                ConnectionEvent::Disconnected { reason, .. } => eprintln!("* {reason}"),
                ConnectionEvent::Connected { server, .. } => eprintln!("* connected to {server} again"),
                ConnectionEvent::Lost { error } => return Err(anyhow::anyhow!("gave up: {error}")),
                _ => {}
            },
        }
    }
    // Says what was said to the end, and goodbye.
    client.close().await?;
    Ok(())
}

/// Cancel safe, as `select!` needs it.
async fn next_line(lines: &mut Lines<BufReader<Stdin>>) -> std::io::Result<Option<String>> {
    lines.next_line().await
}

async fn enter(client: &Client, room: &str) -> Result<Subscription> {
    // Whoever speaks in a room publishes to a topic of its own, so that the topic says who it was.
    let messages = client.subscribe(format!("chat.{room}.*")).await?;
    eprintln!("* you are in {room}");
    Ok(messages)
}

/// Publishes beside the loop: a report waits for the node, and the others' messages shall not wait for it.
fn say(client: &Client, room: &str, name: &str, line: &str) {
    let message = client.message(format!("chat.{room}.{name}")).header("app", "chat").payload(line.to_owned());
    tokio::spawn(async move {
        match message.report().await {
            // One of those who hear it is this program.
            Ok(report) if report.matched <= 1 => eprintln!("* nobody else is here"),
            Ok(_) => {}
            Err(error) => eprintln!("* not said: {error}"),
        }
    });
}

fn show(event: Event, client: &Client) {
    match event {
        Event::Message(message) if message.publisher() == client.peer_id() => {}
        Event::Message(message) => println!("{}: {}", speaker(&message), String::from_utf8_lossy(message.payload())),
        Event::Lagged(missed) => eprintln!("* too much said at once: you missed {missed} lines"),
        Event::Resumed => eprintln!("* what was said meanwhile, you missed"),
        _ => {}
    }
}

/// The last token of the topic.
fn speaker(message: &Message) -> &str {
    message.topic().rsplit('.').next().unwrap_or_default()
}
