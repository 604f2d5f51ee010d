//! Our server as a process of its own, to be killed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use lacuna::Cancel;
use lacuna_sync::v1::{self, ServeOptions};

/// Where the process finds the path of its image.
const IMAGE: &str = "LACUNA_TEST_SERVE";

const BEFORE_ADDRESS: &str = "listening on ";

/// This test binary, run again to do nothing but serve. Killed when dropped.
pub(crate) struct ServerProcess {
    pub(crate) address: String,
    child: Child,
}

impl ServerProcess {
    pub(crate) fn of(image: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", "process::serves", "--ignored", "--nocapture"])
            .env(IMAGE, image)
            .stdout(Stdio::piped())
            .spawn()
            .expect("start a process");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let mut addresses = lines
            .map_while(Result::ok)
            .filter_map(|line| Some(line.split_once(BEFORE_ADDRESS)?.1.to_owned()));
        Self { address: addresses.next().expect("an address"), child }
    }

    /// As `kill -9`, and gone when this returns.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

#[test]
#[ignore = "other tests run it, as a process of its own"]
fn serves() {
    let Some(image) = std::env::var_os(IMAGE) else { return };
    let listener = lacuna_sync::listen(&["127.0.0.1:0".parse().unwrap()]).unwrap();
    println!("{BEFORE_ADDRESS}{}", lacuna_sync::local_address(&listener).unwrap());
    let options = ServeOptions::default();
    let _ =
        v1::serve(Path::new(&image), listener, &options, &Default::default(), &Cancel::default());
}
