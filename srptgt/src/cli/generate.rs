//! `srptgt completions` and `srptgt man`: made from the same command tree as the parser.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Outcome, say};

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self) -> Outcome {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "srptgt", &mut script);
        say(&String::from_utf8_lossy(&script))
    }
}

#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Write the pages of all subcommands into this folder instead
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Man {
    pub(crate) fn run(self) -> Outcome {
        let Some(folder) = self.dir else {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            return say(&String::from_utf8_lossy(&page));
        };
        std::fs::create_dir_all(&folder)?;
        clap_mangen::generate_to(Cli::command(), &folder)?;
        say(&format!("the pages are in {}\n", folder.display()))
    }
}
