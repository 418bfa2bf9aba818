//! A copy is what its files were, without them; and nothing else is a copy.

use std::net::IpAddr;

use super::*;

fn copy() -> Copy {
    let main = "include = ['conf.d/*.toml']\n[listener.web]\nbind = '127.0.0.1:0'\n";
    let route = "[route.all]\nupstream = 'api'\n[upstream.api]\nendpoints = ['api.test:80']\n";
    let address: IpAddr = [10, 0, 0, 7].into();
    Copy {
        at: Moment::now(),
        sha256: "abc".to_owned(),
        files: vec![
            ("/nowhere/evenkeel.toml".to_owned(), main.to_owned()),
            ("/nowhere/conf.d/api.toml".to_owned(), route.to_owned()),
        ],
        hosts: [("api.test".to_owned(), vec![address])].into(),
    }
}

#[test]
fn it_loads_without_its_files() {
    let outcome = copy().load();
    assert_eq!(
        outcome.errors(),
        0,
        "{}",
        outcome.render(config::Style {
            colour: false,
            unicode: false
        })
    );
    let config = outcome.config.expect("it is right");
    assert!(config.upstream.contains_key("api") && config.listener.contains_key("web"));
}

#[test]
fn only_the_whole_of_it_is_a_copy() {
    let copy = copy();
    let bytes = copy.to_bytes();
    assert_eq!(Copy::from_bytes(&bytes), Ok(copy));
    for end in 0..bytes.len() {
        assert!(Copy::from_bytes(&bytes[..end]).is_err(), "{end} bytes");
    }
}

#[test]
fn the_directory_is_read_from_a_file_that_is_wrong_elsewhere() {
    let text = "state_dir = '/tmp/s'\nzone = eu\n[listener.web]\nbind = 7\n";
    assert_eq!(state_dir_of(text), Some("/tmp/s".into()));
    assert_eq!(state_dir_of("zone = 'a'"), None);
}
