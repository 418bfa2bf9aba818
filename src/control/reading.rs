//! Reads the configuration away from the control plane's thread, which has health checks to carry
//! out. What it names may be on a disk that hangs: then this reading ends without a result, and
//! another one may begin.

use std::path::PathBuf;

use super::aside::aside;
use crate::config::{self, Environment, Outcome};

/// Reads and checks a file; an error says why there is no result.
pub(super) async fn read(
    file: PathBuf,
    environment: impl Environment + Send + 'static,
) -> Result<Outcome, String> {
    let path = file.clone();
    aside([&*path], move || config::load(&file, &environment)).await
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    /// A disk that hangs until the other end is dropped.
    #[derive(Debug)]
    struct Hangs(Mutex<Receiver<()>>);

    impl Environment for Hangs {
        fn variable(&self, _: &str) -> Option<String> {
            None
        }

        fn variables(&self) -> Vec<(String, String)> {
            Vec::new()
        }

        fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
            drop(self.0.lock().map(|end| end.recv()));
            Ok(b"[listener.web]\nbind = ':80'\n".to_vec())
        }

        fn list(&self, _: &Path) -> io::Result<Vec<String>> {
            Ok(Vec::new())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_hangs_ends_the_reading_and_the_next_one_begins() {
        let (end, hangs) = channel();
        let file = || PathBuf::from("/hangs/evenkeel.toml");
        let hung = read(file(), Hangs(Mutex::new(hangs)));
        let (hung, ()) = tokio::join!(hung, advance(Duration::from_secs(5)));
        assert_eq!(hung.err().as_deref(), Some("it was not read within 5s"));
        let (gone, well) = channel();
        drop(gone);
        let read = read(file(), Hangs(Mutex::new(well))).await;
        assert!(read.is_ok_and(|outcome| outcome.config.is_some()));
        drop(end);
    }
}
