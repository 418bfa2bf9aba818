use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::Barrier;
use std::thread;

use super::*;

/// A directory that goes with its value.
struct Home(PathBuf);

impl Home {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("unix-{}-{name}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        fs::create_dir(&path).expect("the temporary directory can be written");
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn entries(&self) -> usize {
        fs::read_dir(&self.0).expect("it is there").count()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn mode(path: &Path) -> u32 {
    let file = fs::symlink_metadata(path).expect("a file");
    file.permissions().mode() & 0o7777
}

#[test]
fn what_was_put_in_the_files_place_is_not_given_away() {
    let home = Home::new("swapped");
    let precious = home.path("precious");
    fs::write(&precious, "kept").expect("a writable directory");
    let place = Place::of(&home.path("web.sock")).expect("a directory");
    let name = home.path("beside");
    symlink(&precious, &name).expect("a link");
    assert!(Made::open(&place, "beside").is_err(), "a link");
    fs::remove_file(&name).expect("it is there");
    fs::write(&name, "").expect("a writable directory");
    assert!(Made::open(&place, "beside").is_err(), "no socket");
    fs::remove_file(&name).expect("it is there");
    let theirs = std::os::unix::net::UnixListener::bind(home.path("theirs")).expect("free");
    fs::hard_link(home.path("theirs"), &name).expect("a link");
    assert!(Made::open(&place, "beside").is_err(), "another's socket");
    drop(theirs);
}

#[test]
fn what_is_held_is_changed_whatever_has_its_name() {
    let home = Home::new("renamed");
    let path = home.path("web.sock");
    let listened = SocketFile::listen(&path, &Access::OWN, 1).expect("a free path");
    let (_socket, Some(file)) = listened else {
        panic!("it has a file");
    };
    assert!(file.is_ours());
    let (moved, precious) = (home.path("moved"), home.path("precious"));
    fs::rename(&path, &moved).expect("it is there");
    fs::write(&precious, "kept").expect("a writable directory");
    let before = mode(&precious);
    symlink(&precious, &path).expect("a link");
    assert!(!file.is_ours());
    let written = toml::from_str("mode = '0666'").expect("good");
    file.give(&Access::new(&written)).expect("it is ours");
    assert_eq!((mode(&moved), mode(&precious)), (0o666, before));
    drop(file);
    assert!(fs::symlink_metadata(&path).is_ok(), "it was not ours");
}

#[test]
fn nobody_is_let_in_by_the_mask_and_nothing_is_left_of_a_rehearsal() {
    let home = Home::new("rehearsed");
    let path = home.path("web.sock");
    let own = home.0.metadata().expect("a directory").uid();
    let written = toml::from_str(&format!("owner = '{own}'\nmode = '0777'")).expect("good");
    let access = Access::new(&written);
    SocketFile::rehearse(&path, &access).expect("it is ours");
    assert_eq!(home.entries(), 0);
    let kept = SocketFile::listen(&path, &access, 1).expect("a free path");
    assert_eq!(mode(&path), 0o777);
    assert_eq!(home.entries(), 1);
    drop(kept);
    assert_eq!(home.entries(), 0);
    let missing = toml::from_str("group = 'no-such-group'").expect("good");
    let refused = SocketFile::rehearse(&path, &Access::new(&missing));
    assert!(
        refused
            .expect_err("nobody knows it")
            .to_string()
            .contains("no-such-group")
    );
    assert_eq!(home.entries(), 0);
}

#[test]
fn of_many_who_come_at_once_one_has_the_path() {
    const MANY: usize = 8;
    let home = Home::new("raced");
    let path = home.path("web.sock");
    for round in 0..20 {
        if round % 2 == 1 {
            // Left behind by one that was killed.
            drop(std::os::unix::net::UnixListener::bind(&path).expect("a free path"));
        }
        let barrier = Barrier::new(MANY);
        let listen = || {
            barrier.wait();
            SocketFile::listen(&path, &Access::OWN, 1)
        };
        let results: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..MANY).map(|_| scope.spawn(listen)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("no panic"))
                .collect()
        });
        let refused =
            |result: &&Result<_, SocketFileError>| matches!(result, Err(SocketFileError::InUse(_)));
        assert_eq!(
            results.iter().filter(refused).count(),
            MANY - 1,
            "{results:?}"
        );
        let has_it = |(_, file): &(Socket, Option<SocketFile>)| {
            file.as_ref().is_some_and(SocketFile::is_ours)
        };
        assert!(results.iter().flatten().any(has_it), "round {round}");
    }
    assert_eq!(home.entries(), 0);
}

#[test]
fn who_holds_the_lock_for_ever_keeps_nobody_from_starting() {
    let home = Home::new("locked");
    let path = home.path("web.sock");
    let place = Place::of(&path).expect("a directory");
    let held = place.lock().expect("nobody else has it");
    assert!(SocketFile::listen(&path, &Access::OWN, 1).is_ok());
    drop(held);
}
