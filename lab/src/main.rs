//! The lab's commands: those for people, and those that the lab starts at its hosts.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};
use tidegate_lab::experiment::{self, EF};
use tidegate_lab::netns::{Direction, Lab, Layout};
use tidegate_lab::system::{Rates, System, VOICE_RULE, find_debug_tidegate, find_tidegate, tidegate_policy};
use tidegate_lab::table::{Table, mbit, ms};
use tidegate_lab::traffic::{self, beacon, frames, meter, page, spray, udp};
use tidegate_lab::{demo, failover, idle, interrupt};

/// Tidegate's test bed: a client host, a bridge box and a server host in network namespaces of their own.
///
/// Needs root, iproute2, ethtool, ping, iperf3 and (for VLAN hosts) clang; `scripts/install-deps` installs them. Nothing
/// outside its own namespaces is touched, and all is gone when a command ends.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show six classes of traffic at once through one link: first without, then with Tidegate
    Demo {
        /// The rate of the link, both ways, in Mbit/s
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(5..=1000))]
        mbit: u64,
        /// How long each half runs
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..=600))]
        seconds: u32,
        /// Draw the result into this SVG file
        #[arg(long, value_name = "FILE")]
        picture: Option<PathBuf>,
    },
    /// Measure the latency of EF-marked probes through a system, idle and beside a saturating download
    Probe {
        #[arg(value_enum)]
        system: Choice,
        /// The rate of the link, both ways, in Mbit/s
        #[arg(long, default_value_t = 100)]
        mbit: u64,
        /// The number of probes, at 1 kHz
        #[arg(long, default_value_t = 3000)]
        count: u64,
    },
    /// Measure the rate on the wire behind a system that is offered 1.3 times its rate, each way
    Rate {
        #[arg(value_enum)]
        system: Choice,
        /// The rate of the link, both ways, in Mbit/s
        #[arg(long, default_value_t = 100)]
        mbit: u64,
        /// How long to meter
        #[arg(long, default_value_t = 3)]
        seconds: u64,
    },
    /// Kill, hang, stop, restart and bypass Tidegate under traffic both ways, and measure what each costs the wire
    ///
    /// A panic in a worker is tried on this workspace's debug build, which obeys SIGUSR2.
    Failover {
        /// How often each event is tried
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        repeats: u32,
        /// Print JSON instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Measure the processor time without traffic and the latency after pauses, of the kernel's bridge and of Tidegate
    Idle {
        /// How long each is watched without traffic, with probes at 20 Hz, and with probes at 1 kHz
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
        seconds: u64,
        /// Print JSON instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Make the bed, put a system in the box, say how to use it, and leave it standing until Ctrl-C
    Stand {
        #[arg(value_enum)]
        system: Choice,
        /// The rate of the link, both ways, in Mbit/s
        #[arg(long, default_value_t = 100)]
        mbit: u64,
    },
    #[command(flatten)]
    Helper(Helper),
}

/// What the lab starts at its hosts. Each prints `ready`, works until its standard input closes, and reports as JSON.
#[derive(Subcommand)]
enum Helper {
    /// (helper) Send numbered, timed datagrams at a fixed pace
    Send {
        #[arg(long)]
        to: SocketAddr,
        #[arg(long)]
        payload: usize,
        #[arg(long)]
        interval_ns: u64,
        #[arg(long)]
        count: Option<u64>,
        #[arg(long, default_value_t = 0)]
        dscp: u8,
    },
    /// (helper) Count and time the datagrams of one sender
    Sink {
        #[arg(long)]
        port: u16,
    },
    /// (helper) Send one datagram in each of many flows
    Spray {
        #[arg(long)]
        to: Ipv4Addr,
        #[arg(long)]
        flows: u64,
    },
    /// (helper) Answer every TCP connection with a page
    Serve {
        #[arg(long)]
        port: u16,
        #[arg(long)]
        bytes: u64,
    },
    /// (helper) Read a page again and again, and time each
    Read {
        #[arg(long)]
        from: SocketAddr,
        #[arg(long)]
        interval_ms: u64,
    },
    /// (helper) Meter what comes in by eth0 over a window
    Meter {
        #[arg(long)]
        settle_ms: u64,
        #[arg(long)]
        window_ms: u64,
    },
    /// (helper) Send the frames of a capture file from eth0
    Inject {
        file: PathBuf,
        #[arg(long, default_value_t = 10_000)]
        per_second: u64,
    },
    /// (helper) Send numbered frames of many protocols
    Beacon {
        #[arg(long)]
        own: String,
        #[arg(long)]
        peer: String,
        #[arg(long, value_enum)]
        roamer: beacon::Roamer,
        #[arg(long)]
        move_at: u64,
    },
    /// (helper) Write what comes in by eth0 to a capture file
    Capture { file: PathBuf },
    /// (helper) Keep a core awake
    Spin,
}

#[derive(Clone, Copy, ValueEnum)]
enum Choice {
    /// The kernel bridge, unshaped
    Bridge,
    /// The kernel bridge with one token bucket and 100 ms of queue per port
    BridgeLink,
    /// The kernel bridge with a class tree: voice by EF, the rest bulk
    BridgeHtb,
    /// Tidegate, with EF as voice (binary: TIDEGATE_BIN, else this workspace's build)
    Tidegate,
}

impl Choice {
    fn system(self, mbit: u64) -> Result<System> {
        let rates = Rates::mbit(mbit);
        Ok(match self {
            Choice::Bridge => System::Bridge,
            Choice::BridgeLink => System::BridgeLink(rates),
            Choice::BridgeHtb => System::BridgeHtb(rates),
            Choice::Tidegate => {
                System::Tidegate { binary: find_tidegate()?, policy: tidegate_policy(Some(rates), VOICE_RULE) }
            }
        })
    }
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidegate-lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    if let Command::Helper(helper) = command {
        return assist(helper);
    }
    interrupt::listen()?;
    let this = std::env::current_exe()?;
    let bed = || Lab::build(Layout::Box, &this);
    match command {
        Command::Demo { mbit, seconds, picture } => {
            demo::run(&this, &find_tidegate()?, Rates::mbit(mbit), seconds, picture.as_deref())
        }
        Command::Probe { system, mbit, count } => probe(bed()?, &system.system(mbit)?, count),
        Command::Rate { system, mbit, seconds } => {
            rate(bed()?, &system.system(mbit)?, mbit * 1_000_000, Duration::from_secs(seconds))
        }
        Command::Failover { repeats, json } => fail_over(bed()?, repeats, json),
        Command::Idle { seconds, json } => rest(bed, Duration::from_secs(seconds), json),
        Command::Stand { system, mbit } => stand(bed()?, &system.system(mbit)?),
        Command::Helper(_) => unreachable!("helpers were handled above"),
    }
}

fn assist(helper: Helper) -> Result<()> {
    match helper {
        Helper::Send { to, payload, interval_ns, count, dscp } => udp::send(to, payload, interval_ns, count, dscp),
        Helper::Sink { port } => udp::sink(port),
        Helper::Spray { to, flows } => spray::spray(to, flows),
        Helper::Serve { port, bytes } => page::serve(port, bytes),
        Helper::Read { from, interval_ms } => page::read(from, Duration::from_millis(interval_ms)),
        Helper::Meter { settle_ms, window_ms } => {
            meter::meter(Duration::from_millis(settle_ms), Duration::from_millis(window_ms))
        }
        Helper::Inject { file, per_second } => frames::inject(&file, per_second),
        Helper::Beacon { own, peer, roamer, move_at } => beacon::beacon(&own, &peer, roamer, move_at),
        Helper::Capture { file } => frames::capture(&file),
        Helper::Spin => {
            let closed = traffic::until_input_closes();
            while !closed.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
            Ok(())
        }
    }
}

fn probe(mut lab: Lab, system: &System, count: u64) -> Result<()> {
    lab.keep_awake()?;
    let running = system.start(&lab)?;
    let measured = experiment::latency(&lab, &running, EF, count)?;
    let mut table = Table::new(["", "p50", "p99", "p99.9", "max", "lost", "reordered"]);
    for (state, outcome) in [("idle", measured.idle), ("loaded", measured.loaded)] {
        let latency = outcome.received.latency;
        let counts = [outcome.lost().to_string(), outcome.received.reordered.to_string()];
        let times = [latency.p50, latency.p99, latency.p999, latency.max].map(ms);
        table.row([state.to_owned()].into_iter().chain(times).chain(counts));
    }
    println!("{system}: {count} probes each, beside {} of bulk TCP\n{table}", mbit(measured.bulk));
    println!("kernel drops (received/sent/queued): {}", measured.drops);
    println!("other programs kept the box from its core for {:?}", measured.kept_waiting);
    print!("{}", running.stop()?);
    Ok(())
}

fn rate(mut lab: Lab, system: &System, configured: u64, window: Duration) -> Result<()> {
    lab.keep_awake()?;
    let running = system.start(&lab)?;
    for direction in [Direction::Download, Direction::Upload] {
        let shaped = experiment::overload(&lab, &running, direction, configured, window)?;
        println!(
            "{direction:<8}  offered {}, at the far port {}: {:+.2} %",
            mbit(shaped.offered),
            mbit(shaped.window.wire_rate()),
            shaped.error(configured) * 100.0
        );
        println!("          kernel drops (received/sent/queued): {}", shaped.drops);
        if let Some(reason) = shaped.hosts_failed(configured).or(shaped.was_starved()) {
            println!("          of little worth: {reason}");
        }
    }
    print!("{}", running.stop()?);
    Ok(())
}

fn fail_over(lab: Lab, repeats: u32, json: bool) -> Result<()> {
    let mut trials = failover::Trials::new(&lab, find_tidegate()?, find_debug_tidegate()?)?;
    let rows = failover::failover(&mut trials, repeats, |line| eprintln!("{line}"))?;
    if json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        print!("{}", failover::table(&rows));
    }
    Ok(())
}

fn rest(bed: impl Fn() -> Result<Lab>, span: Duration, json: bool) -> Result<()> {
    let tidegate = System::Tidegate { binary: find_tidegate()?, policy: tidegate_policy(None, "") };
    let rests = idle::compare(&[System::Bridge, tidegate], bed, span)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&rests)?);
    } else {
        print!("{}", idle::table(rests.iter().map(|(system, rest)| (system.as_str(), *rest))));
    }
    Ok(())
}

fn stand(lab: Lab, system: &System) -> Result<()> {
    let running = system.start(&lab)?;
    println!("The {system} stands between the hosts. In other terminals, as root:");
    println!("  ip netns exec {} iperf3 -s", lab.server.netns);
    println!("  ip netns exec {} iperf3 -c {} -R", lab.client.netns, lab.server.ipv4);
    println!("  ip netns exec {} ip -s link          # the box", lab.middle);
    println!("Ctrl-C takes everything down.");
    while interrupt::check().is_ok() {
        std::thread::sleep(Duration::from_millis(100));
    }
    print!("{}", running.stop()?);
    Ok(())
}
