use kustomize::*;
use std::sync::Arc;
struct Disk;
impl Files for Disk {
    fn entry(&self, path: &RepoPath) -> Result<Option<FileEntry>, String> {
        let p = format!("/{}", path.as_str());
        let Ok(m) = std::fs::symlink_metadata(&p) else {
            return Ok(None);
        };
        Ok(Some(if m.is_symlink() {
            FileEntry::Link(
                std::fs::read_link(&p)
                    .unwrap()
                    .to_string_lossy()
                    .into_owned(),
            )
        } else if m.is_dir() {
            FileEntry::Directory
        } else {
            FileEntry::File(std::fs::read(&p).map_err(|e| e.to_string())?.into())
        }))
    }
}
fn main() {
    let mut o = BuildOptions::default();
    let mut dir = ".".to_owned();
    let mut args = std::env::args().skip(1);
    while let Some(a) = args.next() {
        match a.as_str() {
            "--load-restrictor" => {
                if args.next().unwrap() == "LoadRestrictionsNone" {
                    o.load_restriction = LoadRestriction::None
                }
            }
            "--reorder" => {
                args.next();
                o.reorder = Reorder::None
            }
            "--enable-managedby-label" => o.managed_by_label = true,
            _ => dir = a,
        }
    }
    let d = std::fs::canonicalize(&dir).unwrap();
    let cur = std::env::current_dir().unwrap();
    let tree = FileTree::disk(
        Arc::new(Disk),
        RepoPath::root().join(cur.to_str().unwrap()).unwrap(),
    );
    match build(
        &tree,
        &RepoPath::root().join(d.to_str().unwrap()).unwrap(),
        &o,
    ) {
        Ok(r) => {
            for w in &r.warnings {
                eprintln!("{w}");
            }
            print!("{}", r.to_yaml())
        }
        Err(e) => {
            eprintln!("{e}");
            std::process::exit(1)
        }
    }
}
