//! A network of namespaces on one host: hosts with addresses of their own on a switch, some of them behind a NAT.
//!
//! The switch is in a namespace too, so that neither the host's firewall nor its addresses matter, and two networks never
//! meet. Everything is named after the process of the test; the next one removes what a killed one left behind.

use std::io::Write;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::{Context, Result, bail, ensure};
use sinew_tests::{Place, Site};

/// What every namespace of a test begins with.
const PREFIX: &str = "sinew-";

/// The wire between everybody, with addresses that count as public: nothing here leads to the real ones.
const PUBLIC: [u8; 3] = [11, 9, 0];

/// What a NAT does with outgoing connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nat {
    /// Keeps the port for every destination, as home routers do: holes can be punched.
    Punchable,
    /// Takes a random port for each destination: nobody can know it beforehand.
    Symmetric,
}

/// A switch and the hosts on it. All namespaces, and the processes' network with them, are gone when it is dropped.
#[derive(Debug)]
pub struct Network {
    name: String,
    hosts: u8,
    namespaces: Vec<String>,
}

impl Network {
    /// A switch without hosts. Fails without root, and says so.
    pub fn new() -> Result<Self> {
        static COUNT: AtomicU8 = AtomicU8::new(0);
        ensure!(
            rustix::process::geteuid().is_root(),
            "this test makes network namespaces and needs root: run it with `bash .ci/run system`"
        );
        remove_leftovers()?;
        let name = format!("{PREFIX}{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut network = Self { name, hosts: 0, namespaces: Vec::new() };
        let switch = network.namespace("switch")?;
        ip(&["-n", &switch, "link", "add", "switch", "type", "bridge"])?;
        ip(&["-n", &switch, "link", "set", "switch", "up"])?;
        Ok(network)
    }

    /// So many hosts on the switch.
    pub fn hosts(&mut self, count: usize) -> Result<Vec<Site>> {
        (0..count).map(|_| self.host()).collect()
    }

    /// A host on the switch.
    pub fn host(&mut self) -> Result<Site> {
        let number = self.number()?;
        let namespace = self.namespace(&number.to_string())?;
        let address = self.plug(&namespace, number)?;
        // `deaf` has the addresses from which nothing comes in, `losing` the share in per cent of what is lost.
        nft(
            &namespace,
            "table inet sinew {
                set deaf { type ipv4_addr; }
                chain loss { }
                chain input {
                    type filter hook input priority 0;
                    iif lo accept
                    ip saddr @deaf drop
                    jump loss
                }
            }",
        )?;
        Ok(Site { place: Place::Namespace(namespace.into()), address })
    }

    /// A host in a private network whose router on the switch does network address translation.
    pub fn host_behind(&mut self, nat: Nat) -> Result<Site> {
        let number = self.number()?;
        let router = self.namespace(&format!("{number}-router"))?;
        self.plug(&router, number)?;
        let inside = self.namespace(&number.to_string())?;
        ip(&["-n", &router, "link", "add", "lan", "type", "veth", "peer", "name", "eth0", "netns", &inside])?;
        let (gateway, address) = (Ipv4Addr::new(192, 168, number, 1), Ipv4Addr::new(192, 168, number, 2));
        for (namespace, device, address) in [(&router, "lan", gateway), (&inside, "eth0", address)] {
            ip(&["-n", namespace, "address", "add", &format!("{address}/24"), "dev", device])?;
            ip(&["-n", namespace, "link", "set", device, "up"])?;
        }
        ip(&["-n", &inside, "route", "add", "default", "via", &gateway.to_string()])?;
        run(Command::new("ip").args(["netns", "exec", &router, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1"]))?;
        let how = if nat == Nat::Symmetric { "masquerade fully-random" } else { "masquerade" };
        // What comes from outside unasked is dropped before connection tracking remembers it, as routers do: otherwise
        // it would take the port that the host inside is about to use.
        nft(
            &router,
            &format!(
                "table ip sinew {{
                    chain postrouting {{ type nat hook postrouting priority 100; oif eth0 {how}; }}
                    chain input {{ type filter hook input priority 0; iif eth0 drop; }}
                    chain forward {{
                        type filter hook forward priority 0; policy drop;
                        iif lan accept
                        ct state established,related accept
                    }}
                }}"
            ),
        )?;
        Ok(Site { place: Place::Namespace(inside.into()), address })
    }

    /// From now on nothing that `from` sends reaches `to`.
    pub fn cut(&self, from: &Site, to: &Site) -> Result<()> {
        nft(name_of(to)?, &format!("add element inet sinew deaf {{ {} }}", from.address))
    }

    /// Parts the hosts into two sides that hear nothing of each other.
    pub fn part(&self, left: &[Site], right: &[Site]) -> Result<()> {
        for (one, other) in left.iter().flat_map(|one| right.iter().map(move |other| (one, other))) {
            self.cut(one, other)?;
            self.cut(other, one)?;
        }
        Ok(())
    }

    /// Everybody hears everybody again.
    pub fn heal(&self, hosts: &[Site]) -> Result<()> {
        hosts.iter().try_for_each(|host| nft(name_of(host)?, "flush set inet sinew deaf"))
    }

    /// From now on so many per cent of the packets that reach these hosts are lost.
    pub fn lose(&self, hosts: &[Site], per_cent: u8) -> Result<()> {
        let rule = format!("add rule inet sinew loss numgen random mod 100 < {per_cent} counter drop");
        hosts.iter().try_for_each(|host| nft(name_of(host)?, &rule))
    }

    /// From now on these hosts hear nothing but TCP, as behind many a firewall.
    pub fn only_tcp(&self, hosts: &[Site]) -> Result<()> {
        hosts.iter().try_for_each(|host| nft(name_of(host)?, "insert rule inet sinew loss meta l4proto udp drop"))
    }

    /// From now on what this host sends leaves it at so many megabits per second, and waits at the host until then.
    pub fn slow(&self, host: &Site, megabits: u32) -> Result<()> {
        let (namespace, rate) = (name_of(host)?, format!("{megabits}mbit"));
        let queue = ["qdisc", "add", "dev", "eth0", "root", "tbf", "rate", &rate, "burst", "16kb", "limit", "16mb"];
        run(Command::new("tc").args(["-n", namespace]).args(queue)).map(drop)
    }

    /// Packets that found no room in the queue of a slow host so far.
    pub fn dropped(&self, host: &Site) -> Result<u64> {
        let queue = run(Command::new("tc").args(["-n", name_of(host)?, "-s", "qdisc", "show", "dev", "eth0"]))?;
        let packets = queue.split(['(', ' ', ',']).skip_while(|word| *word != "dropped").nth(1);
        Ok(packets.context("a queue that counts")?.parse()?)
    }

    /// Packets lost at a host so far, on purpose.
    pub fn lost(&self, host: &Site) -> Result<u64> {
        let rules = run(Command::new("ip").args([
            "netns",
            "exec",
            name_of(host)?,
            "nft",
            "list",
            "chain",
            "inet",
            "sinew",
            "loss",
        ]))?;
        let packets = rules.split_whitespace().skip_while(|word| *word != "packets").nth(1);
        packets.map_or(Ok(0), |packets| Ok(packets.parse()?))
    }

    fn number(&mut self) -> Result<u8> {
        ensure!(self.hosts < 250, "too many hosts for one network");
        self.hosts += 1;
        Ok(self.hosts)
    }

    fn namespace(&mut self, part: &str) -> Result<String> {
        let name = format!("{}-{part}", self.name);
        ip(&["netns", "add", &name])?;
        self.namespaces.push(name.clone());
        ip(&["-n", &name, "link", "set", "lo", "up"])?;
        Ok(name)
    }

    /// Connects a namespace to the switch. Returns its address there.
    fn plug(&self, namespace: &str, number: u8) -> Result<Ipv4Addr> {
        let (switch, port) = (format!("{}-switch", self.name), format!("port{number}"));
        ip(&["-n", &switch, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", namespace])?;
        ip(&["-n", &switch, "link", "set", &port, "master", "switch", "up"])?;
        let [a, b, c] = PUBLIC;
        let address = Ipv4Addr::new(a, b, c, number);
        ip(&["-n", namespace, "address", "add", &format!("{address}/24"), "dev", "eth0"])?;
        ip(&["-n", namespace, "link", "set", "eth0", "up"])?;
        Ok(address)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in &self.namespaces {
            // Its devices go with it once the last process in it ended.
            let _ = ip(&["netns", "delete", name]);
        }
    }
}

/// Removes the namespaces of test processes that were killed before they could.
fn remove_leftovers() -> Result<()> {
    let Ok(entries) = std::fs::read_dir("/run/netns") else { return Ok(()) };
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            ip(&["netns", "delete", &name])?;
        }
    }
    Ok(())
}

fn name_of(site: &Site) -> Result<&str> {
    match &site.place {
        Place::Namespace(name) => Ok(name),
        Place::Host => bail!("{site:?} is in no namespace"),
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    run(Command::new("ip").args(arguments)).map(drop)
}

/// Runs a script of nftables in a namespace.
fn nft(namespace: &str, script: &str) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, "nft", "-f", "-"]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().context("stdin is piped")?.write_all(script.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "nft in {namespace}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

pub(crate) fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{command:?}: {}{stdout}{stderr}", output.status);
    Ok(stdout.into_owned())
}
