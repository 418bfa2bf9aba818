//! `[reload] watch`: files that change are taken without anybody asking.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::support::clock::eventually;
use crate::support::evenkeel::Evenkeel;

/// A configuration that answers with this.
fn answering(body: &str) -> String {
    format!(
        "[reload]\nwatch = true\n[listener.web]\nbind = \"@web\"\n\
         [route.all]\nrespond = {{ status = 200, body = \"{body}\" }}\n"
    )
}

fn wait_for(proxy: &Evenkeel, body: &str) {
    eventually(&format!("it answers {body}"), || {
        let response = proxy.client().get("/");
        (response.body.text() == body).then_some(())
    });
}

/// Replaces a file as editors do: a new one is moved to its place.
fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).expect("a writable directory");
    fs::rename(&beside, path).expect("a writable directory");
}

#[test]
fn a_file_is_taken_however_it_is_replaced() {
    let mut proxy = Evenkeel::start(&answering("one"));
    wait_for(&proxy, "one");
    let status = proxy.command(&["status"]);
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains(", watched)"), "{status}");

    proxy.write_config(&answering("two"));
    wait_for(&proxy, "two");
    let applied = eventually("it is told of", || {
        proxy.events("config_applied").into_iter().next()
    });
    assert_eq!(applied["by"], "watch");

    let file = proxy.path("evenkeel.toml");
    let text = fs::read_to_string(&file).expect("it was written");
    replace(&file, &text.replace("\"two\"", "\"three\""));
    wait_for(&proxy, "three");

    // As Kubernetes mounts a ConfigMap: the folder is swapped behind a link.
    let version = |name: &str, body: &str| {
        let folder = proxy.path(name);
        fs::create_dir(&folder).expect("a writable directory");
        let text = text.replace("\"two\"", &format!("\"{body}\""));
        fs::write(folder.join("evenkeel.toml"), text).expect("a writable directory");
    };
    version("..1", "three");
    version("..2", "four");
    symlink("..1", proxy.path("..data")).expect("a writable directory");
    fs::remove_file(&file).expect("it was written");
    symlink("..data/evenkeel.toml", &file).expect("a writable directory");
    symlink("..2", proxy.path("..data_tmp")).expect("a writable directory");
    fs::rename(proxy.path("..data_tmp"), proxy.path("..data")).expect("a writable directory");
    fs::remove_dir_all(proxy.path("..1")).expect("a writable directory");
    wait_for(&proxy, "four");
}

#[test]
fn what_it_includes_and_its_secrets_count_too() {
    let main = "include = [\"conf.d/*.toml\"]\n[reload]\nwatch = true\n\
                [listener.web]\nbind = \"@web\"\n";
    let route = "[route.all]\n\
                 respond = { status = 200, body = \"${file:secret}\" }\n";
    let files = [("conf.d/a.toml", route), ("conf.d/secret", "one")];
    let files = files.map(|(name, text)| (name.to_owned(), text.to_owned()));
    let proxy = Evenkeel::start_among(&files, main);
    wait_for(&proxy, "one");
    fs::write(proxy.path("conf.d/secret"), "two\n").expect("a writable directory");
    wait_for(&proxy, "two");
    let more = "[route.more]\npath = \"/more\"\nrespond = { status = 204 }\n";
    replace(&proxy.path("conf.d/b.toml"), more);
    eventually("a file that was not there is included", || {
        (proxy.client().get("/more").status == 204).then_some(())
    });
    fs::remove_file(proxy.path("conf.d/b.toml")).expect("it was written");
    eventually("a file that is gone is not", || {
        (proxy.client().get("/more").status == 200).then_some(())
    });
}

#[test]
fn a_mistake_is_told_once_and_changes_nothing() {
    let mut proxy = Evenkeel::start(&answering("good"));
    proxy.write_config(&answering("bad").replace("status = 200", "status = 2000"));
    let rejected = || proxy.events("config_rejected");
    eventually("it is refused", || (!rejected().is_empty()).then_some(()));
    assert_eq!(rejected()[0]["by"], "watch");
    wait_for(&proxy, "good");
    // What comes afterwards is looked at, and proves that several looks have passed.
    let mark = "[route.mark]\npath = \"/mark\"\nrespond = { status = 204 }\n";
    for (name, count) in [("one", 1), ("two", 2)] {
        let text = answering(name) + mark;
        proxy.write_config(&text);
        wait_for(&proxy, name);
        eventually("it is told of", || {
            (proxy.events("config_applied").len() == count).then_some(())
        });
    }
    assert_eq!(proxy.events("config_rejected").len(), 1);
}

/// `[reload]` is part of what it watches.
#[test]
fn it_begins_by_a_reload() {
    let mut proxy = Evenkeel::start(&answering("one").replace("true", "false"));
    proxy.reload(&answering("two"));
    proxy.write_config(&answering("three"));
    wait_for(&proxy, "three");
}
