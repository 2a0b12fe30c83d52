//! Procedures served and called from the command line, by a command or by an echo.

use std::path::Path;
use std::process::{Output, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};
use sinew_tests::{Cluster, Finished, Node, PATIENCE, Running, binary, signal, sinew, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

/// Serves, and waits until the node has taken it.
async fn serve(server: &str, name: &str, flags: &[&str]) -> Result<Running> {
    let mut serving = Running::start(&[&["serve", name, "--server", server, "--json"], flags].concat())?;
    let line = serving.json().await?;
    ensure!(line["event"] == "serving" && line["name"] == name, "{line}");
    Ok(serving)
}

async fn call(server: &str, name: &str, flags: &[&str]) -> Result<Finished> {
    sinew(&[&["call", name, "--server", server], flags].concat()).await
}

/// A call that goes on beside the test.
fn calling(server: &str, arguments: &[&str]) -> Result<Child> {
    let mut command = Command::new(binary());
    command.arg("call").args(arguments).args(["--server", server]);
    Ok(command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?)
}

/// A call that gets this on standard input.
async fn call_with(server: &str, arguments: &[&str], input: &[u8]) -> Result<Output> {
    let mut child = calling(server, arguments)?;
    let mut stdin = child.stdin.take().context("stdin is piped")?;
    let input = input.to_vec();
    let feed = async move { stdin.write_all(&input).await };
    let (fed, output) = tokio::join!(feed, soon("the call", child.wait_with_output()));
    fed?;
    Ok(output??)
}

/// Waits until a command has written this file, and reads it.
async fn written(file: &Path) -> Result<String> {
    let content = async {
        loop {
            if let Ok(content) = tokio::fs::read_to_string(file).await
                && content.ends_with('\n')
            {
                return content;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    Ok(soon("a file of the command", content).await?.trim().to_owned())
}

/// Waits until a process has ended. That somebody takes note of it may take longer where its parent has ended too.
async fn gone(pid: &str) -> Result<()> {
    let stat = format!("/proc/{pid}/stat");
    let runs = || std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
    let gone = async {
        while runs() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    soon("the end of what the command had started", gone).await
}

#[tokio::test]
async fn a_command_answers_and_its_errors_are_told() -> Result<()> {
    let node = Node::start(&[]).await?;
    let server = node.url("quic");
    let _square = serve(&server, "math.square", &["--exec", "read n; echo $((n * n))"]).await?;
    let squared = call(&server, "math.square", &["12"]).await?;
    assert_eq!((squared.code, squared.stdout.as_str()), (Some(0), "144\n"), "{}", squared.stderr);
    let many = call(&server, "math.square", &["-7", "--count", "20", "--parallel", "8", "--json"]).await?;
    assert_eq!(many.ok()?, vec![json!({ "payload": "49\n" }); 20]);

    let _wrong = serve(&server, "test.wrong", &["--exec", "echo partly; echo no good >&2; exit 3"]).await?;
    let wrong = call(&server, "test.wrong", &["--json"]).await?;
    assert_eq!(wrong.code, Some(1));
    let told = &wrong.json()?[0];
    assert_eq!(
        (&told["error"], &told["code"], &told["payload"]),
        (&json!("application"), &json!(3), &json!("no good"))
    );
    assert_eq!(told["executed"], json!("yes"));
    ensure!(wrong.stderr.contains("application error 3: no good"), "{}", wrong.stderr);

    let nobody = call(&server, "math.cube", &["3", "--json"]).await?;
    assert_eq!((nobody.code, &nobody.json()?[0]["error"]), (Some(4), &json!("no_provider")), "{}", nobody.stderr);
    assert_eq!(call(&server, "math..cube", &[]).await?.code, Some(2));
    assert_eq!(call(&server, "$math", &[]).await?.code, Some(6));
    assert_eq!(call("tls://127.0.0.1:1", "math.square", &["1"]).await?.code, Some(5));
    Ok(())
}

#[tokio::test]
async fn a_command_knows_the_call_and_gets_all_of_the_argument() -> Result<()> {
    let node = Node::start(&[]).await?;
    let server = node.url("unix");
    let context = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let command = "echo $SINEW_CALL_NAME $SINEW_CALL_CALLER $TRACEPARENT";
    let _who = serve(&server, "test.who", &["--exec", command]).await?;
    let key = node.data_dir().join("caller");
    let key = key.to_str().context("a plain path")?;
    let made = sinew(&["key", "new", "--identity", key]).await?;
    let header = format!("traceparent={context}");
    let who = call(&server, "test.who", &["--identity", key, "--header", &header]).await?;
    assert_eq!(who.stdout, format!("test.who {} {context}\n", made.stdout.trim()), "{}", who.stderr);

    // Longer than a frame and a window, and not text.
    let argument: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let _cat = serve(&server, "test.cat", &["--exec", "cat"]).await?;
    let output = call_with(&server, &["test.cat", "-"], &argument).await?;
    ensure!(output.status.success() && output.stdout.starts_with(&argument), "{} bytes", output.stdout.len());
    ensure!(output.stdout.len() <= argument.len() + 1, "a newline at the end, if anything");
    // Nobody has to read what is not wanted.
    let _deaf = serve(&server, "test.deaf", &["--exec", "echo deaf"]).await?;
    let output = call_with(&server, &["test.deaf", "-"], &argument).await?;
    assert_eq!(output.stdout, b"deaf\n");
    Ok(())
}

#[tokio::test]
async fn a_command_is_killed_with_all_it_has_started() -> Result<()> {
    let node = Node::start(&[]).await?;
    let server = node.url("quic");
    let file = node.data_dir().join("pids");
    let command = format!("sleep 600 & echo $$ $! > {}; wait", file.display());
    let _slow = serve(&server, "test.slow", &["--exec", &command]).await?;
    // At the deadline.
    let late = call(&server, "test.slow", &["--deadline", "300ms", "--json"]).await?;
    assert_eq!((late.code, &late.json()?[0]["executed"]), (Some(3), &json!("maybe")), "{}", late.stderr);
    for pid in written(&file).await?.split(' ') {
        gone(pid).await?;
    }
    // When the caller is interrupted, and when it is lost: of a Unix socket that is known at once.
    for (how, scheme) in [(Signal::INT, "quic"), (Signal::KILL, "unix")] {
        std::fs::remove_file(&file)?;
        let mut caller = calling(&node.url(scheme), &["test.slow", "--deadline", "5m"])?;
        let pids = written(&file).await?;
        signal(caller.id().context("the caller runs")?, how)?;
        for pid in pids.split(' ') {
            gone(pid).await?;
        }
        let ended = soon("the end of the caller", caller.wait()).await??;
        assert_eq!(ended.code(), (how == Signal::INT).then_some(1));
    }
    Ok(())
}

#[tokio::test]
async fn only_so_many_commands_run_at_once() -> Result<()> {
    let node = Node::start(&[]).await?;
    let server = node.url("quic");
    let dir = node.data_dir().join("running");
    std::fs::create_dir(&dir)?;
    let dir = dir.display();
    let command = format!("touch {dir}/$$; ls {dir} | wc -l; sleep 0.02; rm {dir}/$$");
    let _two = serve(&server, "test.two", &["--exec", &command, "--concurrency", "2"]).await?;
    let counts = call(&server, "test.two", &["--count", "30", "--parallel", "30", "--json"]).await?.ok()?;
    let counts = counts.iter().map(|row| Ok(row["payload"].as_str().context("a text")?.trim().parse()?));
    let counts: Vec<u32> = counts.collect::<Result<_>>()?;
    ensure!(counts.len() == 30 && counts.iter().all(|count| *count <= 2), "{counts:?}");
    Ok(())
}

#[tokio::test]
async fn a_provider_that_is_asked_to_end_finishes_what_it_has_begun() -> Result<()> {
    let node = Node::start(&[]).await?;
    let server = node.url("quic");
    let (begun, go) = (node.data_dir().join("begun"), node.data_dir().join("go"));
    let command =
        format!("echo yes > {}; while [ ! -e {} ]; do sleep 0.02; done; echo done", begun.display(), go.display());
    let mut provider = serve(&server, "test.wait", &["--exec", &command]).await?;
    let caller = calling(&server, &["test.wait", "--deadline", "60s"])?;
    written(&begun).await?;
    signal(provider.pid(), Signal::TERM)?;
    // Withdrawn: nobody else gets in.
    let begin = std::time::Instant::now();
    while call(&server, "test.wait", &["--deadline", "200ms"]).await?.code != Some(4) {
        ensure!(begin.elapsed() < PATIENCE, "still there");
    }
    std::fs::write(&go, "")?;
    let output = soon("the answer", caller.wait_with_output()).await??;
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"done\n"[..]));
    assert_eq!(provider.end().await?, Some(0));
    Ok(())
}

#[tokio::test]
async fn an_echo_answers_in_kind() -> Result<()> {
    let node = Node::start(&[]).await?;
    let server = node.url("quic");
    let echo = serve(&server, "test.echo", &["--echo"]).await?;
    assert_eq!(call(&server, "test.echo", &["hello"]).await?.stdout, "hello\n");
    assert_eq!(call(&server, "test.echo", &["hello", "--stream"]).await?.stdout, "hello\n");
    let lines: String = (0..10_000).map(|n| format!("line {n}\n")).collect();
    let output = call_with(&server, &["test.echo", "--lines"], lines.as_bytes()).await?;
    ensure!(output.status.success() && output.stdout == lines.as_bytes(), "{} bytes", output.stdout.len());

    // An answer to each item before the next one is sent: nothing waits for the end.
    let mut caller = calling(&server, &["test.echo", "--lines"])?;
    let (mut stdin, mut stdout) = (caller.stdin.take().context("piped")?, caller.stdout.take().context("piped")?);
    for word in ["ping\n", "pong\n"] {
        stdin.write_all(word.as_bytes()).await?;
        let mut answer = [0; 5];
        soon("an answer", stdout.read_exact(&mut answer)).await??;
        assert_eq!(answer, word.as_bytes());
    }
    drop(stdin);
    assert_eq!(soon("the end", caller.wait()).await??.code(), Some(0));

    let _second = serve(&server, "test.echo", &["--echo"]).await?;
    let all = call(&server, "test.echo", &["all", "--strategy", "all", "--json"]).await?.ok()?;
    ensure!(all.len() == 2 && all[0]["provider"] != all[1]["provider"], "{all:?}");
    ensure!(all.iter().all(|answer| answer["payload"] == "all" && answer["node"] == node.id()), "{all:?}");
    drop(echo);
    Ok(())
}

#[tokio::test]
async fn calls_are_measured() -> Result<()> {
    const KEYS: [&str; 9] =
        ["calls", "errors", "secs", "calls_per_s", "p50_us", "p95_us", "p99_us", "p999_us", "max_us"];
    let node = Node::start(&[]).await?;
    let server = node.url("quic");
    let arguments = ["bench", "serve", "bench.echo", "--providers", "2", "--server", &server, "--json"];
    let mut provider = Running::start(&arguments)?;
    provider.ready().await?;
    let common = ["bench", "call", "bench.echo", "--count", "1000", "--server", &server, "--json"];
    for flags in [&[][..], &["--parallel", "16", "--size", "100KiB"], &["--rate", "5k", "--parallel", "300"]] {
        let called = sinew(&[&common[..], flags].concat()).await?;
        let called = &called.ok().with_context(|| format!("{flags:?}"))?[0];
        for key in KEYS {
            ensure!(called[key].is_number(), "{key} is missing in {called}");
        }
        assert_eq!((&called["calls"], &called["errors"]), (&json!(1_000), &json!(0)), "{flags:?}");
    }
    signal(provider.pid(), Signal::TERM)?;
    let served: Value = provider.json().await?;
    assert_eq!(served["served"], json!(3_000));
    assert_eq!(provider.end().await?, Some(0));

    let nobody = sinew(&["bench", "call", "bench.echo", "--count", "10", "--server", &server, "--json"]).await?;
    let counts = &nobody.json()?[0];
    assert_eq!((nobody.code, &counts["errors_by"]), (Some(1), &json!({ "no_provider": 10 })));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_one_node_calls_a_provider_of_another() -> Result<()> {
    let cluster = Cluster::joined(2, &[]).await?;
    let (here, there) = (cluster.nodes[0].url("quic"), cluster.nodes[1].url("quic"));
    let mut square = serve(&there, "math.square", &["--exec", "read n; echo $((n * n))"]).await?;
    let squared = call(&here, "math.square", &["12"]).await?;
    assert_eq!((squared.code, squared.stdout.as_str()), (Some(0), "144\n"), "{}", squared.stderr);
    square.child.kill().await?;
    let begin = std::time::Instant::now();
    loop {
        let after = call(&here, "math.square", &["12"]).await?;
        if after.code == Some(4) {
            return Ok(());
        }
        // What was under way when it was killed can't be known; nothing waits for a deadline.
        ensure!(matches!(after.code, Some(0 | 1)) && begin.elapsed() < PATIENCE, "{:?}: {}", after.code, after.stderr);
    }
}

#[tokio::test]
async fn a_lease_that_is_too_short_is_refused_with_what_is_the_least() -> Result<()> {
    let node = Node::start(&[]).await?;
    let server = node.url("unix");
    for command in [&["serve", "x", "--echo"][..], &["svc", "announce", "x"]] {
        let refused = sinew(&[command, &["--server", &server, "--ttl", "1s"]].concat()).await?;
        assert_eq!(refused.code, Some(1), "{}", refused.stderr);
        ensure!(refused.stderr.contains("--ttl 1s: the node grants at least 10s"), "{}", refused.stderr);
        let refused = sinew(&[command, &["--server", &server, "--ttl", "2h"]].concat()).await?;
        ensure!(refused.stderr.contains("--ttl 7200s: the node grants at most 3600s"), "{}", refused.stderr);
    }
    Ok(())
}
