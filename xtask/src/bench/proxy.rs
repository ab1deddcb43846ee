//! CPU time per proxied request: nginx, Caddy and ours, one worker each, on loopback.
//!
//! CPU per request is compared, not requests per second: it stays within some per cent while
//! neighbours on the machine change the rate severalfold. The peers take turns within each
//! repetition, and a ratio is of two measurements of the same repetition. All three add the same
//! forwarding headers, and none buffers answers, since event streams must not wait.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use super::median;

/// What ours may cost at most, in units of nginx.
const GOAL_TO_NGINX: f64 = 1.25;
const HOST: &str = "bench-app.localhost";
const CONNECTIONS: u32 = 64;
const START_LIMIT: Duration = Duration::from_secs(10);
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// The programs it needs and the Debian packages they are in.
const TOOLS: [(&str, &str, &str); 3] =
    [("nginx", "-v", "nginx-light"), ("caddy", "version", "caddy"), ("wrk", "-v", "wrk")];
const CASES: [(&str, &str); 2] = [("13 B", "/small"), ("10 KB", "/large")];
const PEERS: [&str; 3] = ["nginx", "Caddy", "ours"];

/// Settings of the measurement.
#[derive(Args)]
pub struct Proxy {
    /// Seconds of load per measurement.
    #[arg(long, default_value_t = 3)]
    seconds: u32,
    /// How often everything is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(3..))]
    repetitions: u32,
}

impl Proxy {
    pub(super) fn run(self) -> Result<()> {
        ensure_tools()?;
        let ours = build()?;
        let folder = PathBuf::from("target/bench-proxy");
        fs::create_dir_all(&folder).with_context(|| format!("could not create {}", folder.display()))?;
        let folder = folder.canonicalize()?;
        let ports = Ports { upstream: free_port()?, peers: [free_port()?, free_port()?, free_port()?] };
        let _upstream = start_upstream(&folder, ports.upstream)?;
        let peers = [start_nginx(&folder, &ports)?, start_caddy(&folder, &ports)?, start_ours(&ours, &folder, &ports)?];
        let ticks = clock_ticks()?;
        println!(
            "{} repetitions of {} s, {CONNECTIONS} keep-alive connections, one worker each; CPU per request in µs",
            self.repetitions, self.seconds
        );
        let mut met = true;
        for (case, path) in CASES {
            let mut samples: [Vec<Sample>; 3] = [Vec::new(), Vec::new(), Vec::new()];
            for _ in 0..self.repetitions {
                for (index, peer) in peers.iter().enumerate() {
                    samples[index].push(measure(peer, ports.peers[index], path, self.seconds, ticks)?);
                }
            }
            met &= report(case, &samples);
        }
        println!("{}", if met { "Both goals are met." } else { "A goal is missed." });
        Ok(())
    }
}

struct Ports {
    upstream: u16,
    peers: [u16; 3],
}

#[derive(Clone, Copy)]
struct Sample {
    cpu_us: f64,
    per_second: f64,
}

/// A program that ends with us.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // TERM first: killed outright, nginx would leave its worker behind.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let until = Instant::now() + STOP_LIMIT;
        while Instant::now() < until {
            if let Ok(Some(_)) = self.0.try_wait() {
                return;
            }
            sleep(Duration::from_millis(20));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ensure_tools() -> Result<()> {
    let is_missing = |(program, version, _): &&(&str, &str, &str)| {
        Command::new(program).arg(version).stdout(Stdio::null()).stderr(Stdio::null()).status().is_err()
    };
    let missing: Vec<&str> = TOOLS.iter().filter(is_missing).map(|(_, _, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if !is_root()? || Command::new("apt-get").arg("--version").stdout(Stdio::null()).status().is_err() {
        bail!("this measurement needs {names}: on Debian or Ubuntu, `sudo apt-get install {names}`");
    }
    println!("Installing {names}, which the measurement compares with and uses.");
    let installed = Command::new("apt-get")
        .args(["install", "--yes", "--no-install-recommends"])
        .args(&missing)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status()?;
    ensure!(installed.success(), "apt-get could not install {names}; its output says why");
    // Installing starts the services; they would measure along.
    for service in ["nginx", "caddy"] {
        let _ = Command::new("service").args([service, "stop"]).stderr(Stdio::null()).status();
    }
    Ok(())
}

fn build() -> Result<PathBuf> {
    let built = Command::new("cargo")
        .args(["build", "--release", "--package", "spaceport-proxy", "--example", "bench_proxy"])
        .status()?;
    ensure!(built.success(), "the proxy could not be built");
    Ok(PathBuf::from("target/release/examples/bench_proxy").canonicalize()?)
}

fn start_upstream(folder: &Path, port: u16) -> Result<Running> {
    fs::write(folder.join("large"), "x".repeat(10 * 1024))?;
    let server = format!(
        "server {{ listen 127.0.0.1:{port} reuseport; root {}; sendfile on; tcp_nopush on; open_file_cache max=4;
         location = /small {{ return 200 'hello, world\n'; }} }}",
        folder.display()
    );
    nginx(folder, "upstream", &server, port)
}

fn start_nginx(folder: &Path, ports: &Ports) -> Result<Running> {
    let [port, ..] = ports.peers;
    let server = format!(
        "upstream app {{ server 127.0.0.1:{}; keepalive 256; keepalive_requests 1000000000; }}
         server {{ listen 127.0.0.1:{port}; server_name {HOST}; location / {{
         proxy_pass http://app; proxy_http_version 1.1; proxy_buffering off;
         proxy_set_header Connection ''; proxy_set_header Host $http_host;
         proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Host $http_host;
         proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Request-Id $request_id; }} }}",
        ports.upstream
    );
    nginx(folder, "proxy", &server, port)
}

fn nginx(folder: &Path, name: &str, server: &str, port: u16) -> Result<Running> {
    let user = if is_root()? { "user root;" } else { "" };
    let at = folder.display();
    let file = folder.join(format!("nginx-{name}.conf"));
    let text = format!(
        "{user} worker_processes 1; daemon off; pid {at}/{name}.pid; error_log {at}/{name}.log;
         events {{ worker_connections 4096; }}
         http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 1h;
         client_body_temp_path {at}/body; proxy_temp_path {at}/temp; fastcgi_temp_path {at}/fastcgi;
         uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;
         {server} }}"
    );
    fs::write(&file, text)?;
    let mut command = Command::new("nginx");
    command.arg("-e").arg(folder.join(format!("{name}.log"))).arg("-c").arg(&file);
    start(&mut command, "nginx", port)
}

fn start_caddy(folder: &Path, ports: &Ports) -> Result<Running> {
    let [_, port, _] = ports.peers;
    let file = folder.join("Caddyfile");
    let text = format!(
        "{{\n\tadmin off\n\tauto_https off\n}}\nhttp://{HOST}:{port} {{\n\tbind 127.0.0.1\n\t\
         reverse_proxy 127.0.0.1:{} {{\n\t\tflush_interval -1\n\t\theader_up X-Request-Id {{http.request.uuid}}\n\t\t\
         transport http {{\n\t\t\tkeepalive_idle_conns_per_host 256\n\t\t}}\n\t}}\n}}\n",
        ports.upstream
    );
    fs::write(&file, text)?;
    let mut command = Command::new("caddy");
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(&file);
    command.env("GOMAXPROCS", "1").env("HOME", folder).env("XDG_DATA_HOME", folder).env("XDG_CONFIG_HOME", folder);
    start(&mut command, "caddy", port)
}

fn start_ours(program: &Path, folder: &Path, ports: &Ports) -> Result<Running> {
    let [_, _, port] = ports.peers;
    let mut command = Command::new(program);
    command.args([&format!("127.0.0.1:{port}"), HOST, &format!("127.0.0.1:{}", ports.upstream), "1"]);
    command.current_dir(folder);
    start(&mut command, "our proxy", port)
}

fn start(command: &mut Command, name: &str, port: u16) -> Result<Running> {
    // Ours ends when its input does; the others do not look at it.
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut running = Running(command.spawn().with_context(|| format!("could not start {name}"))?);
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let until = Instant::now() + START_LIMIT;
    while TcpStream::connect(address).is_err() {
        if let Some(status) = running.0.try_wait()? {
            bail!("{name} ended at once ({status}); its log or configuration is in target/bench-proxy");
        }
        ensure!(Instant::now() < until, "{name} does not listen on {address} after {START_LIMIT:?}");
        sleep(Duration::from_millis(20));
    }
    Ok(running)
}

fn measure(peer: &Running, port: u16, path: &str, seconds: u32, ticks: f64) -> Result<Sample> {
    load(port, path, 1)?;
    let before = cpu_ticks(peer.0.id())?;
    let (requests, per_second) = load(port, path, seconds)?;
    let after = cpu_ticks(peer.0.id())?;
    ensure!(requests > 0.0, "no request was answered on port {port}");
    Ok(Sample { cpu_us: (after - before) / ticks * 1e6 / requests, per_second })
}

/// Requests answered, and answered per second.
fn load(port: u16, path: &str, seconds: u32) -> Result<(f64, f64)> {
    let output = Command::new("wrk")
        .args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{seconds}s"), "-H", &format!("Host: {HOST}:{port}")])
        .arg(format!("http://127.0.0.1:{port}{path}"))
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    for trouble in ["Non-2xx", "Socket errors"] {
        ensure!(!text.contains(trouble), "the load on port {port} met errors:\n{text}");
    }
    let requests = text.lines().find_map(|line| line.trim().split_once(" requests in")?.0.parse().ok());
    let rate = text.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:")?.trim().parse().ok());
    requests.zip(rate).with_context(|| format!("wrk's output has no counts:\n{text}"))
}

/// User and system time of a process and its children, in ticks.
fn cpu_ticks(root: u32) -> Result<f64> {
    let mut sum = 0.0;
    let mut family = vec![root];
    let all = processes()?;
    while let Some(process) = family.pop() {
        for (id, parent, ticks) in &all {
            if *id == process {
                sum += ticks;
            }
            if *parent == process {
                family.push(*id);
            }
        }
    }
    Ok(sum)
}

/// Every process: its id, its parent and its time (proc(5), `stat`).
fn processes() -> Result<Vec<(u32, u32, f64)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process may have ended in between.
        let Ok(stat) = fs::read_to_string(format!("/proc/{id}/stat")) else { continue };
        // The name is in parentheses and may have any character.
        let Some((_, fields)) = stat.rsplit_once(") ") else { continue };
        let fields: Vec<&str> = fields.split(' ').collect();
        let number = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
        let parent = fields.get(1).and_then(|field| field.parse().ok());
        if let (Some(parent), Some(user), Some(system)) = (parent, number(11), number(12)) {
            all.push((id, parent, user + system));
        }
    }
    Ok(all)
}

/// Prints the rows of one case; whether the goals are met.
fn report(case: &str, samples: &[Vec<Sample>; 3]) -> bool {
    let [nginx, _, _] = samples;
    let ratio = |of: &[Sample]| median(of.iter().zip(nginx).map(|(one, base)| one.cpu_us / base.cpu_us));
    println!("\n{case:<8}{:>10}{:>18}{:>12}{:>14}", "µs", "range", "x nginx", "requests/s");
    for (peer, of) in PEERS.iter().zip(samples) {
        let cpu = of.iter().map(|sample| sample.cpu_us);
        let (low, high) = (cpu.clone().fold(f64::INFINITY, f64::min), cpu.clone().fold(0.0, f64::max));
        println!(
            "{peer:<8}{:>10.1}{:>18}{:>12.2}{:>14.0}",
            median(cpu),
            format!("{low:.1} to {high:.1}"),
            ratio(of),
            median(of.iter().map(|sample| sample.per_second))
        );
    }
    let [_, caddy, ours] = samples;
    let (ours, caddy) = (ratio(ours), ratio(caddy));
    let verdict = |met| if met { "met" } else { "missed" };
    println!("goal: at most {GOAL_TO_NGINX} x nginx: {}", verdict(ours <= GOAL_TO_NGINX));
    println!("goal: less than Caddy: {}", verdict(ours < caddy));
    ours <= GOAL_TO_NGINX && ours < caddy
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn is_root() -> Result<bool> {
    Ok(Command::new("id").arg("-u").output()?.stdout == b"0\n")
}

fn clock_ticks() -> Result<f64> {
    let output = Command::new("getconf").arg("CLK_TCK").output().context("could not run getconf")?;
    String::from_utf8_lossy(&output.stdout).trim().parse().context("getconf CLK_TCK is not a number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_found_with_their_parents() {
        let own = std::process::id();
        assert!(processes().unwrap().iter().any(|(id, parent, _)| *id == own && *parent != own));
    }
}
