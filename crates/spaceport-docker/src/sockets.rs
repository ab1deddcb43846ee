//! The listening sockets of a container, from its own socket table.
//!
//! Asking from outside cannot tell "listens on 127.0.0.1 only" from "does not listen"; the table
//! can, and it sees a port before the app answers on it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::exec::StartExecResults;
use bollard::models::ExecConfig;
use futures::StreamExt;
use spaceport_runtime::{ListeningSocket, RuntimeError};

use crate::app::inspect_raw;
use crate::cgroup::HostProcess;
use crate::client::{CALL_TIMEOUT, within};

/// `TCP_LISTEN` of the kernel.
const LISTEN: &str = "0A";
/// The engine's own resolver listens inside every container.
const ENGINE_RESOLVER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11));

pub(crate) async fn listening(docker: &Docker, id: &str) -> Result<Vec<ListeningSocket>, RuntimeError> {
    let Some(response) = inspect_raw(docker, id).await? else {
        return Err(RuntimeError::NoContainer(id.to_owned()));
    };
    let state = response.state.unwrap_or_default();
    if state.running != Some(true) {
        return Ok(Vec::new());
    }
    let table = match HostProcess::of(id, state.pid).await {
        Some(process) => process.socket_tables().await,
        None => None,
    };
    match table {
        Some(table) => Ok(parse(&table)),
        None => Ok(parse(&ask(docker, id).await?)),
    }
}

/// A socket table is shorter.
const MAX_TABLE: usize = 1 << 20;

/// From inside, when the host's processes cannot be seen. An image without `cat` has no answer,
/// and the caller falls back to connecting.
async fn ask(docker: &Docker, id: &str) -> Result<String, RuntimeError> {
    let command = ["cat", "/proc/net/tcp", "/proc/net/tcp6"].map(str::to_owned).to_vec();
    let config = ExecConfig { cmd: Some(command), attach_stdout: Some(true), ..Default::default() };
    let call = async {
        let exec = docker.create_exec(id, config).await?;
        let mut table = String::new();
        if let StartExecResults::Attached { mut output, .. } = docker.start_exec(&exec.id, None).await? {
            while let Some(Ok(LogOutput::StdOut { message })) = output.next().await {
                // The program is the image's own: it may write without end.
                if table.len() + message.len() > MAX_TABLE {
                    break;
                }
                table.push_str(&String::from_utf8_lossy(&message));
            }
        }
        Ok(table)
    };
    within(CALL_TIMEOUT, &format!("read the sockets of container {id}"), call).await
}

/// Lines of `/proc/net/tcp` and `tcp6`: `sl local_address rem_address st …`.
fn parse(table: &str) -> Vec<ListeningSocket> {
    let mut found: Vec<ListeningSocket> = table
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let (local, _, state) = (fields.next()?, fields.next()?, fields.next()?);
            let (address, port) = local.split_once(':')?;
            let socket =
                ListeningSocket { address: parse_address(address)?, port: u16::from_str_radix(port, 16).ok()? };
            (state == LISTEN && socket.address != ENGINE_RESOLVER).then_some(socket)
        })
        .collect();
    found.sort_by_key(|socket| (socket.port, socket.address));
    found.dedup();
    found
}

/// 32-bit words in the byte order of the machine.
fn parse_address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let word = u32::from_str_radix(hex.get(at * 8..at * 8 + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    match hex.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let mut octets = [0; 16];
            for at in 0..4 {
                octets[at * 4..at * 4 + 4].copy_from_slice(&word(at)?);
            }
            Some(IpAddr::V6(Ipv6Addr::from(octets)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn reads_the_kernels_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue
   0: 00000000:1E14 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000
   1: 0100007F:213D 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000
   2: 0B00007F:9C41 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0
   3: 0200A8C0:1E14 0300A8C0:C000 01 00000000:00000000 00:00000000 00000000  1000
  sl  local_address                         remote_address                        st
   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0
   1: 00000000000000000000000001000000:0051 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0
";
        let found: Vec<String> = parse(table).iter().map(|s| format!("{} {}", s.address, s.port)).collect();
        assert_eq!(found, [":: 80", "::1 81", "0.0.0.0 7700", "127.0.0.1 8509"]);
    }
}
