//! The examples of README.md, in their order: what they show is what the commands print, but for times,
//! digests and free space.

use std::path::Path;
use std::process::{Command, Stdio};

use lacuna_testing::mount::{Fs, Mount, MountOptions};

use crate::common::text;

const README: &str = include_str!("../../../../README.md");

/// A line that was typed, and what was printed then.
struct Example {
    typed: String,
    printed: String,
}

/// Those of one machine; the examples of two are shown by the demo.
fn examples() -> Vec<Example> {
    let mut examples: Vec<Example> = vec![];
    let blocks = README.split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    for line in blocks.filter(|block| !block.contains("127.0.0.1")).flat_map(str::lines) {
        match line.strip_prefix("$ ") {
            Some(typed) => {
                examples.push(Example { typed: typed.to_owned(), printed: String::new() });
            }
            None => {
                let last = examples.last_mut().expect("typed before anything is printed");
                last.printed += &format!("{line}\n");
            }
        }
    }
    examples
}

/// With a `_` for each word that differs from run to run.
fn settled(printed: &str) -> String {
    let words: Vec<&str> = printed.split([' ', '\n']).collect();
    let is = |at: usize, expected: &str| words.get(at).is_some_and(|word| *word == expected);
    let settled = words.iter().enumerate().map(|(at, word)| {
        let is_digest = word.len() >= 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_time = is(at + 1, "s") || is(at + 1, "s,");
        let is_space = is(at + 1, "are") || is(at + 2, "are");
        match word.split_once("\"elapsed_seconds\":") {
            _ if is_digest || is_time || is_space => "_",
            Some((before, _)) => before,
            None => word,
        }
    });
    settled.collect::<Vec<_>>().join(" ")
}

fn run(typed: &str, directory: &Path) -> String {
    let bin = Path::new(assert_cmd::cargo::cargo_bin!("lacuna")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .args(["-c", &format!("{typed} 2>&1")])
        .env("PATH", path)
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let printed = text(&output.stdout);
    printed.lines().filter(|line| !is_progress(line)).map(|line| format!("{line}\n")).collect()
}

/// What is only said of what takes longer than a second.
fn is_progress(line: &str) -> bool {
    line.ends_with("/s") && line.contains(" %: ")
}

#[test]
fn the_examples_of_the_readme_are_what_the_commands_print() {
    let options = MountOptions { size_mib: 1024, ..MountOptions::default() };
    let Some(mount) = Mount::with(Fs::Ext4, &options) else { return };
    let examples = examples();
    assert!(examples.len() > 30, "{}", examples.len());
    for Example { typed, printed } in examples {
        let found = run(&typed, mount.path());
        assert_eq!(settled(&found), settled(&printed), "$ {typed}\n{found}");
    }
}
