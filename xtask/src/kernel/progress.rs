//! How far the kernel's build is: one line each time another twentieth is done, which reads well in a log too.

use std::io::{BufRead, BufReader, Read, Write};
use std::time::{Duration, Instant};

use anyhow::Result;

/// What a build of the fragment as it stands prints; the percentage is a courtesy and may end a little beside 100.
const LINES_EXPECTED: u32 = 1666;
const STEPS: u32 = 20;

/// Reads the output of make to its end, keeps it in `log` and prints how far it has come.
pub(super) fn show(output: impl Read, mut log: impl Write) -> Result<()> {
    let start = Instant::now();
    let mut lines: u32 = 0;
    for line in BufReader::new(output).lines() {
        writeln!(log, "{}", line?)?;
        lines += 1;
        if let Some(percent) = step(lines) {
            println!(
                "kernel: {lines} of about {LINES_EXPECTED} objects, {percent} %, {}",
                elapsed(start.elapsed())
            );
        }
    }
    Ok(())
}

/// The percentage to print after this line, if it completes a step.
fn step(lines: u32) -> Option<u32> {
    let of = |lines: u32| (lines * STEPS / LINES_EXPECTED).min(STEPS);
    (of(lines) > of(lines - 1)).then(|| of(lines) * 100 / STEPS)
}

fn elapsed(time: Duration) -> String {
    format!("{} min {:02} s", time.as_secs() / 60, time.as_secs() % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_twentieth_is_shown_once_and_nothing_beyond_all() {
        let shown: Vec<u32> = (1..LINES_EXPECTED + 500).filter_map(step).collect();
        assert_eq!(shown, (1..=STEPS).map(|step| step * 5).collect::<Vec<_>>());
    }

    #[test]
    fn the_output_is_kept_whole() {
        let mut log = Vec::new();
        show("  CC a.o\n  LD b\n".as_bytes(), &mut log).unwrap();
        assert_eq!(log, b"  CC a.o\n  LD b\n");
        assert_eq!(elapsed(Duration::from_secs(125)), "2 min 05 s");
    }
}
