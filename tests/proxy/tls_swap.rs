//! Certificates that are swapped as Kubernetes does it with a mounted Secret: the files are links
//! into `..data`, which is a link to a folder that another one takes the place of, at once.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::clock::eventually;
use crate::support::command::Files;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::tls::{Authority, Hello, listener};

#[test]
fn a_folder_that_is_swapped_behind_a_link_is_noticed() {
    let authority = Authority::new();
    let hello = Hello::to("shop.test", &authority);
    let [old, new] = [(); 2].map(|()| authority.certify(&["shop.test"]));
    let mount = Files::new(&[]);
    for (version, certified) in [("..v1", &old), ("..v2", &new)] {
        fs::create_dir(mount.path(version)).expect("a writable directory");
        for (name, content) in certified.files("a") {
            let path = mount.path(version).join(name);
            fs::write(path, content).expect("a writable directory");
        }
    }
    symlink("..v1", mount.path("..data")).expect("a link");
    for name in ["a.pem", "a.key"] {
        symlink(format!("..data/{name}"), mount.path(name)).expect("a link");
    }
    let endpoint = Endpoint::echo();
    let written = listener(endpoint.address(), &["a"], "");
    let folder = mount.path("a").display().to_string();
    let written = written.replace("\"a.", &format!("\"{folder}."));
    let proxy = Evenkeel::start(&written);
    let mut open = hello.begin(proxy.address("web"));
    assert!(open.was_shown(&old));
    symlink("..v2", mount.path("..data_tmp")).expect("a link");
    fs::rename(mount.path("..data_tmp"), mount.path("..data")).expect("one folder");
    eventually("it is noticed", || proxy.events("cert_reloaded").pop());
    assert!(hello.begin(proxy.address("web")).was_shown(&new));
    assert_eq!(open.get("/").status, 200);
    assert_eq!(proxy.events("cert_rejected").len(), 0);
}
