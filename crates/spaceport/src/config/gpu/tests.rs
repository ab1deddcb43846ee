use super::*;

fn section(text: &str) -> (Gpu, Vec<String>) {
    let table: Table = toml::from_str(text).unwrap();
    let Value::Table(gpu) = &table["gpu"] else { panic!("{table}") };
    read(gpu)
}

fn device(text: &str) -> Vec<String> {
    section(&format!("[[gpu.device]]\nid = \"a\"\nmodel = \"X\"\nmemory_gib = 16\n{text}")).1
}

#[test]
fn one_entry_makes_several_devices() {
    let (gpu, problems) = section(
        "[gpu]\nnvidia = false\nattach = \"cdi\"\nnode = \"box-1\"\n\
         [[gpu.device]]\nid = \"mi\"\ncount = 2\nmodel = \"AMD Instinct MI210\"\nmemory_gib = 64\nattach = \"devices\"\n\
         paths = [\"/dev/kfd\", \"/dev/dri/card{n}\"]\ngroups = [44]\nenv = { ROCR_VISIBLE_DEVICES = \"{n}\" }\n\
         [[gpu.device]]\nid = \"cuda:{n}\"\ncount = 1\nmodel = \"Y\"\nmemory_gib = 8\nattach = \"cdi\"\ncdi = \"v.example/gpu={n}\"\n\
         [[gpu.device]]\nid = \"GPU-8f2a\"\nmodel = \"NVIDIA T4\"\nmemory_gib = 16\nattach = \"nvidia\"\n",
    );
    assert_eq!(problems, Vec::<String>::new());
    assert_eq!((gpu.nvidia, gpu.by_cdi, gpu.node), (false, true, Some(NodeName("box-1".to_owned()))));
    let ids: Vec<&str> = gpu.devices.iter().map(|device| device.id.0.as_str()).collect();
    assert_eq!(ids, ["mi-0", "mi-1", "cuda:0", "GPU-8f2a"]);
    let expected = Attach::Nodes {
        paths: vec!["/dev/kfd".to_owned(), "/dev/dri/card1".to_owned()],
        groups: vec![44],
        env: [("ROCR_VISIBLE_DEVICES".to_owned(), "1".to_owned())].into(),
    };
    assert_eq!((&gpu.devices[1].attach, gpu.devices[1].memory_bytes), (&expected, 64 << 30));
    assert_eq!(gpu.devices[2].attach, Attach::Cdi { name: "v.example/gpu=0".to_owned() });
}

#[test]
fn an_id_is_given_once() {
    let (_, problems) = section(
        "[[gpu.device]]\nid = \"a\"\ncount = 2\nmodel = \"X\"\nmemory_gib = 1\nattach = \"nvidia\"\n\
         [[gpu.device]]\nid = \"a-1\"\nmodel = \"X\"\nmemory_gib = 1\nattach = \"nvidia\"\n",
    );
    assert_eq!(problems, ["gpu.device: two devices have the id a-1; one of them would never be given out"]);
}

#[test]
fn each_way_to_attach_wants_its_own_keys() {
    for (text, part) in [
        ("attach = \"magic\"", "attach must be"),
        ("attach = \"cdi\"", "needs cdi"),
        ("attach = \"cdi\"\ncdi = \"gpu0\"", "needs cdi"),
        ("attach = \"nvidia\"\npaths = [\"/dev/x\"]", "attach is \"nvidia\""),
        ("attach = \"devices\"\ncdi = \"v/c=n\"", "cdi is for attach = \"cdi\""),
        ("attach = \"devices\"", "needs paths, env or both"),
        ("attach = \"devices\"\npaths = [\"/etc/passwd\"]", "not a path of a device node"),
        ("attach = \"devices\"\npaths = [\"/dev/../etc/passwd\"]", "not a path of a device node"),
        ("attach = \"devices\"\nenv = { \"A-B\" = \"1\" }", "not a name of an environment variable"),
        ("attach = \"devices\"\nenv = { NVIDIA_VISIBLE_DEVICES = \"all\" }", "follows from the lease"),
    ] {
        let problems = device(text);
        assert!(problems.len() == 1 && problems[0].contains(part), "{text}: {problems:?}");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let (_, problems) = section(
        "[gpu]\nnvidia = \"yes\"\nattach = 1\nnode = \"a b\"\ncolour = \"red\"\n\
         [[gpu.device]]\nid = \"a b\"\nmodel = \" \"\nmemory_gib = 0\ncount = 65\nattach = \"nvidia\"\nspeed = 1\n\
         [[gpu.device]]\nid = \"c\"\nmodel = \"X\"\nmemory_gib = -1\nattach = \"nvidia\"\n",
    );
    for part in [
        "gpu.nvidia is",
        "gpu.attach must",
        "gpu.node must",
        "no key \"colour\"",
        "no key \"speed\"",
        "its id must",
        "its model is empty",
        "memory_gib is 0",
        "count must be",
        "number 2: invalid value",
    ] {
        assert!(problems.iter().any(|problem| problem.contains(part)), "{part}: {problems:#?}");
    }
    assert_eq!(problems.len(), 10, "{problems:#?}");
    assert_eq!(section("[gpu]\ndevice = 1\n").1.len(), 1);
}
