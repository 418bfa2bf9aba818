//! What is unused, in a file that is wrong elsewhere.

use super::*;

/// The findings about unused upstreams.
fn unused(routes: &str) -> Vec<String> {
    let upstreams = "[upstream.api]\nendpoints = ['a:1']\n[upstream.media]\nendpoints = ['b:1']\n";
    let text = ["[listener.web]\nbind = ':8080'\n", routes, upstreams].concat();
    let outcome = load_text("test.toml", &text, &Nothing);
    assert!(outcome.config.is_none(), "nothing is wrong with {routes}");
    let findings = outcome.diagnostics.iter();
    findings
        .filter(|finding| finding.code == Code::UnusedUpstream)
        .map(|finding| finding.title.clone())
        .collect()
}

#[test]
fn a_mistake_elsewhere_hides_no_unused_upstream() {
    for mistake in [
        "timeouts = { request = 5 }",
        "nonsense = true",
        "path = 'v1'",
        "methods = ['GET', 7]",
    ] {
        let routes = format!("[route.a]\nupstream = 'api'\n{mistake}\n");
        let said = unused(&routes);
        assert_eq!(
            said,
            ["nothing sends traffic to upstream `media`"],
            "{routes}"
        );
    }
}

#[test]
fn what_may_have_been_meant_is_not_called_unused() {
    for meant in [
        "[route.b]\nuptream = 'media'\n",
        "[route.b]\nupstream = ['media']\n",
        "[route.b]\nsplt = { media = 1 }\n",
        "[route.b]\nupstream = { name = 'media' }\n",
        "[route]\nb = 'media'\n",
        "[rout.b]\nupstream = 'media'\n",
        "[route.b]\nupstream = '${UNSET}'\n",
        "[route.b]\nupstream = 'media'\nnonsense = 1\n",
    ] {
        let routes = [meant, "[route.a]\nupstream = 'api'\n"].concat();
        assert_eq!(unused(&routes), Vec::<String>::new(), "{routes}");
    }
}
