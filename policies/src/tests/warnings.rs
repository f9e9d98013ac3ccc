//! What is allowed but unwise is said, at its place.

use super::parse;

#[test]
fn unwise_policies_are_warned_about() {
    let text = "\
version: 1
repositories:
  main:
    url: ./repo
    identity: file:repo/key.txt
    create: {generate_identities: [repo/new.txt], single_recipient: true}
  spare: {url: ./spare}
sources:
  a: {tfstate: {path: x}, repositories: [main], retention: {last: 1}}
  b: {tfstate: {path: y}, repositories: [main]}
retention:
  unused: {last: 1}
drills:
  d: {source: b, identity: file:repo/other.txt}
";
    let set = parse(text).unwrap();
    let found: Vec<String> = set
        .warnings()
        .iter()
        .map(|warning| warning.details())
        .map(|details| format!("{}:{} {}", details.line, details.column, details.message))
        .collect();
    assert_eq!(
        found,
        [
            "5:5 this identity lies inside the repository that it opens",
            "6:14 this identity lies inside the repository that it opens",
            "6:51 only one key will be able to read this repository",
            "7:3 no source is stored in the repository `spare`",
            "9:3 no drill proves that the source `a` can be restored",
            "10:3 the source `b` has no retention, so nothing of it is ever forgotten",
            "12:3 no source uses the retention `unused`",
            "14:3 the drill `d` restores but checks nothing about the data",
            "14:18 this identity lies inside the repository that it opens",
        ]
    );
    let first = set.warnings()[0].to_string();
    assert!(
        first.starts_with("/policies/test.yaml:5:5: warning: this identity lies"),
        "{first}"
    );
}
