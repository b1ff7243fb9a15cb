//! The end of a log, for a message about what went wrong.

use std::fs;
use std::path::Path;

/// The last `count` lines of a file; of one that cannot be read, the reason.
pub fn last_lines(path: &Path, count: usize) -> String {
    match fs::read(path) {
        Ok(text) => end_of(&String::from_utf8_lossy(&text), count),
        Err(error) => format!("{}: {error}", path.display()),
    }
}

fn end_of(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_short_text_is_all_of_it() {
        assert_eq!(end_of("a\nb\n", 5), "a\nb");
        assert_eq!(end_of("a\nb\nc\n", 2), "b\nc");
    }

    #[test]
    fn a_missing_log_says_so() {
        assert!(last_lines(Path::new("/no/such/log"), 3).starts_with("/no/such/log: "));
    }
}
