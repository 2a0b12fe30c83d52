//! `sinew top` on a terminal and without one, on good and on bad clusters; and what commands do with the admin token.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use parking_lot::Mutex;
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use serde_json::{Value, json};
use sinew_tests::{Cluster, Finished, Launch, Node, Running, binary, signal, sinew, soon};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket};
use tokio::process::{Child, Command};
use tokio::sync::watch;

const ROWS: u16 = 24;
const COLUMNS: u16 = 80;

/// A program on a terminal of its own.
struct Terminal {
    child: Child,
    keyboard: File,
    /// The side of the program, kept to see how it leaves the terminal.
    line: File,
    screen: watch::Receiver<String>,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    fn start(arguments: &[&str]) -> Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let path = ptsname(&master, Vec::new())?.into_string()?;
        let line = File::options().read(true).write(true).open(path)?;
        tcsetwinsize(&line, Winsize { ws_row: ROWS, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 })?;
        let mut command = Command::new(binary());
        command.args(arguments).env("TERM", "xterm-256color").kill_on_drop(true);
        let child = command.stdin(line.try_clone()?).stdout(line.try_clone()?).stderr(line.try_clone()?).spawn()?;
        let keyboard = File::from(master);
        let (shown, screen) = watch::channel(String::new());
        let written = Arc::new(Mutex::new(Vec::new()));
        let (mut output, kept) = (keyboard.try_clone()?, Arc::clone(&written));
        std::thread::spawn(move || {
            let mut screen = vt100::Parser::new(ROWS, COLUMNS, 0);
            let mut part = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut part) {
                screen.process(&part[..count]);
                kept.lock().extend_from_slice(&part[..count]);
                shown.send_replace(screen.screen().contents());
            }
        });
        Ok(Self { child, keyboard, line, screen, written })
    }

    /// Waits until the screen is like that.
    async fn shows(&mut self, what: &str, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let seen = soon(what, self.screen.wait_for(|screen| wanted(screen))).await;
        let seen = seen.and_then(|seen| Ok(seen?.clone()));
        seen.with_context(|| format!("the screen is\n{}", self.screen.borrow().as_str()))
    }

    fn press(&mut self, keys: &str) -> Result<()> {
        Ok(self.keyboard.write_all(keys.as_bytes())?)
    }

    /// Waits for the end; the terminal has to be as it was.
    async fn ends(&mut self) -> Result<Option<i32>> {
        let status = soon("the end of sinew top", self.child.wait()).await??;
        let modes = tcgetattr(&self.line)?.local_modes;
        ensure!(modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG), "still raw: {modes:?}");
        // It takes a moment until the reader has the last of it.
        let left = |written: &[u8], code: &[u8]| written.windows(code.len()).any(|part| part == code);
        soon("the screen to be given back", async {
            while !left(&self.written.lock(), b"\x1b[?1049l") {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await?;
        Ok(status.code())
    }
}

fn admin(node: &Node) -> Result<String> {
    Ok(node.admin_address()?.to_string())
}

async fn once(node: &Node) -> Result<Finished> {
    sinew(&["top", "--once", "--json", "--admin", &admin(node)?]).await
}

/// The state that a frame gives to a node, if it names it.
fn state<'a>(frame: &'a Value, node: &str) -> Option<&'a str> {
    frame["nodes"].as_array()?.iter().find(|row| row["node"] == node)?["state"].as_str()
}

/// The end of an id, as it is shown.
fn short(id: &str) -> &str {
    &id[id.len() - 8..]
}

#[tokio::test]
async fn one_look_has_the_nodes_and_the_rates_of_the_realm() -> Result<()> {
    let cluster = Cluster::joined(3, &[]).await?;
    let server = cluster.nodes[1].url("unix");
    let mut subscriber =
        Running::start(&["sub", "load.t", "--settle", "--server", &cluster.nodes[2].url("unix"), "-q"])?;
    subscriber.ready().await?;
    let _load = Running::start(&["pub", "load.t", "x", "--count", "1000000", "--rate", "500", "--server", &server])?;
    cluster.nodes[1].metric_becomes("sinew_published_total", |published| published > 0.0).await?;

    let look = once(&cluster.nodes[0]).await?;
    let frames = look.ok()?;
    assert_eq!(frames.len(), 1, "one line: {}", look.stdout);
    let frame = &frames[0];
    assert_eq!((&frame["v"], &frame["node"]), (&json!(1), &json!(cluster.nodes[0].id())));
    for node in &cluster.nodes {
        assert_eq!(state(frame, node.id()), Some("up"), "{frame}");
    }
    let window = &frame["windows"]["1"];
    ensure!(window["rate"].as_f64() > Some(0.0) && window["secs"] == 1, "{window}");
    assert_eq!(window["by_topic"][0]["key"], "load.t", "{window}");

    let words = sinew(&["top", "--once", "--admin", &admin(&cluster.nodes[0])?]).await?;
    assert_eq!(words.code, Some(0), "{}", words.stderr);
    ensure!(words.stdout.contains("3/3 up") && words.stdout.contains("load.t"), "{}", words.stdout);
    for node in &cluster.nodes {
        ensure!(words.stdout.contains(&format!("\n{}", short(node.id()))), "{}", words.stdout);
    }
    Ok(())
}

#[tokio::test]
async fn a_killed_node_is_shown_lost_and_the_other_commands_say_so() -> Result<()> {
    let mut cluster = Cluster::joined(3, &[]).await?;
    let asked = admin(&cluster.nodes[0])?;
    let mut top = Terminal::start(&["top", "--admin", &asked])?;
    top.shows("three nodes", |screen| screen.contains("3/3 up")).await?;
    top.press("2")?;
    top.shows("the nodes with their memory", |screen| screen.contains("MEMORY") && screen.contains("MiB")).await?;

    let dead = cluster.nodes.pop().context("three nodes")?;
    let id = dead.id().to_owned();
    let _launch = dead.kill().await?;
    let warning = format!("node lost: {}", short(&id));
    top.shows("the node that is lost", |screen| screen.contains("2/3 up") && screen.contains(&warning)).await?;
    let look = once(&cluster.nodes[0]).await?;
    assert_eq!(state(&look.ok()?[0], &id), Some("lost"), "{}", look.stdout);

    // The others agree as soon as the realm holds it dead.
    cluster.nodes[0]
        .sees("one other node that is up", |peers| peers.iter().filter(|peer| peer.is_up()).count() == 1)
        .await?;
    let check = sinew(&["check", "--admin", &asked, "--min-peers", "2", "--window", "50ms"]).await?;
    assert_eq!(check.code, Some(2), "{}", check.stdout);
    ensure!(check.stdout.contains("1 other nodes are up, 2 are wanted"), "{}", check.stdout);
    top.press("q")?;
    assert_eq!(top.ends().await?, Some(0));
    Ok(())
}

#[tokio::test]
async fn the_terminal_is_given_back_however_it_ends() -> Result<()> {
    let node = Node::start(&[]).await?;
    let asked = admin(&node)?;
    for end in [Signal::TERM, Signal::INT] {
        let mut top = Terminal::start(&["top", "--admin", &asked])?;
        top.shows("one node", |screen| screen.contains("1/1 up")).await?;
        signal(top.child.id().context("it runs")?, end)?;
        assert_eq!(top.ends().await?, Some(0), "{end:?}");
    }
    let mut top = Terminal::start(&["top", "--admin", &asked])?;
    top.shows("one node", |screen| screen.contains("1/1 up")).await?;
    top.press("\u{3}")?;
    assert_eq!(top.ends().await?, Some(0), "control and C");
    Ok(())
}

#[tokio::test]
async fn it_connects_again_and_keys_work_meanwhile() -> Result<()> {
    let launch = Launch { admin: "127.0.0.1:0".to_owned(), ..Launch::new(&[])? };
    let node = launch.start().await?;
    let asked = admin(&node)?;
    let mut top = Terminal::start(&["top", "--admin", &asked])?;
    top.shows("one node", |screen| screen.contains("1/1 up") && screen.contains("  live")).await?;
    let launch = node.kill().await?;
    top.shows("that the node is gone", |screen| screen.contains("RECONNECTING")).await?;
    top.press("?")?;
    top.shows("the help", |screen| screen.contains("sort by the next column")).await?;
    top.press("x6")?;
    top.shows("the queues", |screen| screen.contains("QUEUE") && screen.contains("CAPACITY")).await?;
    let _node = Launch { admin: asked, ..launch }.start().await?;
    top.shows("frames again", |screen| screen.contains("  live")).await?;
    top.press("/memory\r")?;
    top.shows("a filter", |screen| screen.contains("filter: memory") && !screen.contains("delivery_jobs")).await?;
    top.press("q")?;
    assert_eq!(top.ends().await?, Some(0));
    Ok(())
}

#[tokio::test]
async fn without_a_terminal_or_a_node_it_says_so() -> Result<()> {
    let node = Node::start(&[]).await?;
    let asked = admin(&node)?;
    let none = sinew(&["top", "--admin", &asked]).await?;
    assert_eq!(none.code, Some(2), "{}", none.stderr);
    ensure!(none.stderr.contains("no terminal") && none.stderr.contains("--once"), "{}", none.stderr);
    let live = sinew(&["top", "--json", "--admin", &asked]).await?;
    assert_eq!(live.code, Some(2), "{}", live.stderr);
    node.terminate().await?;
    assert_eq!(sinew(&["top", "--once", "--admin", &asked]).await?.code, Some(5));
    let mut top = Terminal::start(&["top", "--admin", &asked])?;
    assert_eq!(soon("its end", top.child.wait()).await??.code(), Some(5), "before it takes the screen");
    Ok(())
}

/// An address of this host beside loopback.
fn outward() -> Result<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect("192.0.2.1:9").context("this host has an address beside loopback")?;
    Ok(socket.local_addr()?.ip())
}

/// Where the admin server of a node is asked as if from another host: connections reach it on loopback, and come from an
/// address that is neither loopback nor the one that is asked.
async fn from_elsewhere(node: &Node) -> Result<String> {
    let (server, outward) = (SocketAddr::from(([127, 0, 0, 1], node.admin_address()?.port())), outward()?);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let socket = TcpSocket::new_v4()?;
                socket.bind(SocketAddr::new(outward, 0))?;
                let mut far = socket.connect(server).await?;
                copy_bidirectional(&mut near, &mut far).await
            });
        }
    });
    Ok(address)
}

/// A node that other hosts reach.
async fn open(flags: &[&str]) -> Result<Node> {
    let flags = [&["--open"], flags].concat();
    Launch { admin: "0.0.0.0:0".to_owned(), ..Launch::new(&flags)? }.start().await
}

#[tokio::test]
async fn other_hosts_need_the_token_and_every_command_sends_it() -> Result<()> {
    let token = "a-token-of-the-tests";
    let node = open(&["--admin-token", token]).await?;
    let asked = from_elsewhere(&node).await?;
    let commands: [&[&str]; 4] = [&["peers"], &["topics"], &["top", "--once"], &["check", "--window", "50ms"]];
    let wrong = ["--admin-token", "another-token-of-the-tests"];
    for command in commands {
        let run = async |more: &[&str]| sinew(&[command, &["--admin", &asked], more].concat()).await;
        let known = run(&["--admin-token", token]).await?;
        assert_eq!(known.code, Some(0), "{command:?}: {} {}", known.stdout, known.stderr);
        for (more, words) in [(&[][..], "asks for its admin token"), (&wrong, "does not take this admin token")] {
            let refused = run(more).await?;
            // A plugin of Nagios has codes of its own: unknown.
            let code = if command[0] == "check" { 3 } else { 6 };
            let said = format!("{}{}", refused.stdout, refused.stderr);
            assert_eq!(refused.code, Some(code), "{command:?}: {said}");
            ensure!(said.contains(words), "{command:?}: {said}");
        }
    }
    // Whether it is well is told to anybody.
    assert_eq!(sinew(&["healthcheck", "--admin", &asked]).await?.code, Some(0));
    // The doctor has the configuration of the node, and in it the token.
    let place = node.data_dir().to_str().context("a plain path")?;
    let doctor = sinew(&["doctor", "--admin", &asked, "--data-dir", place, "--admin-token", token]).await?;
    ensure!(doctor.stdout.contains("says that it is ready"), "{}", doctor.stdout);
    let doctor = sinew(&["doctor", "--admin", &asked, "--data-dir", place]).await?;
    ensure!(doctor.code == Some(1) && doctor.stdout.contains("asks for its admin token"), "{}", doctor.stdout);
    Ok(())
}

#[tokio::test]
async fn the_doctor_finds_the_token_that_a_node_has_made() -> Result<()> {
    let node = open(&[]).await?;
    let asked = from_elsewhere(&node).await?;
    let place = node.data_dir().to_str().context("a plain path")?;
    assert_eq!(sinew(&["peers", "--admin", &asked]).await?.code, Some(6));
    let doctor = sinew(&["doctor", "--admin", &asked, "--data-dir", place]).await?;
    ensure!(doctor.stdout.contains("says that it is ready"), "{}", doctor.stdout);
    let kept = std::fs::read_to_string(node.data_dir().join("admin-token"))?;
    let peers = sinew(&["peers", "--admin", &asked, "--admin-token", kept.trim()]).await?;
    assert_eq!(peers.code, Some(0), "{}", peers.stderr);
    Ok(())
}
