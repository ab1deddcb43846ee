//! Measurements: ours beside what people use today, in one run on one machine, since only ratios
//! of the same minutes mean anything.

mod proxy;

use clap::Subcommand;

/// What to measure.
#[derive(Subcommand)]
pub enum Bench {
    /// CPU time per request of nginx, Caddy and our proxy.
    Proxy(proxy::Proxy),
}

impl Bench {
    /// Runs the measurement and prints its table.
    pub fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Proxy(proxy) => proxy.run(),
        }
    }
}
