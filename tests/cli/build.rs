//! `overlayd build`.

use crate::{folder, overlayd};

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n";

#[test]
fn prints_what_it_builds() {
    let directory = folder(&[
        (
            "kustomization.yaml",
            "namePrefix: a-\nresources: [s.yaml]\n",
        ),
        ("s.yaml", SERVICE),
    ]);
    assert_eq!(
        overlayd(directory.path(), &["build"]),
        "exit 0\n--- stdout\napiVersion: v1\nkind: Service\nmetadata:\n  name: a-web\n--- stderr\n"
    );
}

#[test]
fn says_all_that_is_wrong_at_once_and_where() {
    let directory = folder(&[
        (
            "app/kustomization.yaml",
            "resorces: [s.yaml]\nnamePrefix: 9\n",
        ),
        ("app/s.yaml", SERVICE),
    ]);
    assert_eq!(
        overlayd(directory.path(), &["build", "app"]),
        "exit 1\n--- stdout\n--- stderr\n\
         error: cannot build `app`\n\
         \x20 cause: invalid kustomization: field `namePrefix` must be a string, not an integer\n\
         \x20 where: app/kustomization.yaml:2\n\
         \x20 hint: put the value in quotes: \"9\"\n\
         \x20 cause: invalid kustomization: unknown field `resorces`\n\
         \x20 where: app/kustomization.yaml:1\n\
         \x20 hint: did you mean `resources`?\n"
    );
}

#[test]
fn a_patch_without_a_target_names_what_there_is() {
    let directory = folder(&[
        (
            "kustomization.yaml",
            "resources: [s.yaml]\npatches:\n- path: p.yaml\n",
        ),
        ("s.yaml", SERVICE),
        (
            "p.yaml",
            "apiVersion: v1\nkind: Service\nmetadata: {name: wbe}\nspec: {type: NodePort}\n",
        ),
    ]);
    assert_eq!(
        overlayd(directory.path(), &["build", "."]),
        "exit 1\n--- stdout\n--- stderr\n\
         error: cannot build `.`\n\
         \x20 cause: no resource matches strategic merge patch: no matches for Id Service.v1.[noGrp]/wbe.[noNs]\n\
         \x20 where: p.yaml:1, patches[0] of kustomization.yaml:3\n\
         \x20 hint: the base has Service `web`; the patch names `wbe`\n"
    );
}

#[test]
fn files_outside_need_a_word() {
    let directory = folder(&[
        ("app/kustomization.yaml", "resources: [../s.yaml]\n"),
        ("s.yaml", SERVICE),
    ]);
    let refused = overlayd(directory.path(), &["build", "app"]);
    assert!(
        refused.contains("security; file `s.yaml` is not in or below `app`"),
        "{refused}"
    );
    let allowed = overlayd(
        directory.path(),
        &["build", "app", "--load-restrictor", "LoadRestrictionsNone"],
    );
    assert!(allowed.starts_with("exit 0"), "{allowed}");
}
