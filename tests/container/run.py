#!/usr/bin/env python3
"""Does what the Containerfile says work, as it says it?

    tests/container/run.py --binary BINARY

Linux, as root, with python3-yaml; no container engine. A root is made by hand of the program, its libraries, sh, grep and
setpriv, and is read-only; the volume is a folder that the `init` of the Containerfile has made. In it, as the user of the
Containerfile and without any capability, its ENTRYPOINT and HEALTHCHECK are run, to the word: the check fails without the
service, holds with it, a message that another member of the group drops arrives, and the check fails once the service is killed.
What this does not show: that the base images can be had, and that the build in them works.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
FOLDER = os.path.join(HERE, "../../packaging/container")
LIMIT = 30


def instructions(path):
    with open(path, encoding="utf-8") as file:
        text = re.sub(r"^\s*#.*\n", "", file.read(), flags=re.M).replace("\\\n", " ")
    return [line.split(None, 1) for line in text.splitlines() if line.strip()]


def expect(what, found, wanted):
    if found != wanted:
        sys.exit(f"{what}: expected {wanted!r}, found {found!r}")


def against_compose(said, user, health):
    import yaml
    with open(os.path.join(FOLDER, "compose.yaml"), encoding="utf-8") as file:
        compose = yaml.safe_load(file)
    service = compose["services"]["pillarbox"]
    expect("user", service["user"], user)
    expect("read_only", service["read_only"], True)
    expect("capabilities", service["cap_drop"], ["ALL"])
    options = dict(re.findall(r"--([a-z-]+)=(\S+)", said["HEALTHCHECK"]))
    check = service["healthcheck"]
    expect("healthcheck", check["test"], ["CMD", *health])
    for key, value in options.items():
        expect(key, str(check[key.replace("-", "_")]), value)
    volumes = [volume.split(":")[:2] for volume in service["volumes"]]
    name, place = volumes[0]
    expect("volume", place, said["VOLUME"])
    expect("named volumes", list(compose["volumes"]), [name])
    expect("secrets", list(compose["secrets"]), service["secrets"])
    built = os.path.normpath(os.path.join(FOLDER, service["build"]["context"], service["build"]["dockerfile"]))
    expect("dockerfile", built, os.path.normpath(os.path.join(FOLDER, "Containerfile")))


def put(root, path, source=None):
    """A program with the libraries that it needs."""
    source = os.path.realpath(source or path)
    os.makedirs(root + os.path.dirname(path), exist_ok=True)
    shutil.copy(source, root + path)
    for library in re.findall(r"(/\S+) \(0x", subprocess.run(["ldd", source], capture_output=True, text=True).stdout):
        os.makedirs(root + os.path.dirname(library), exist_ok=True)
        shutil.copy(os.path.realpath(library), root + library)


def wait(what, done):
    begun = time.monotonic()
    while not done():
        if time.monotonic() - begun > LIMIT:
            sys.exit(f"still waiting for {what}")
        time.sleep(0.1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    binary = os.path.abspath(parser.parse_args().binary)
    if os.environ.get("IN_A_NAMESPACE") != "1":
        # What is mounted goes with it.
        os.environ["IN_A_NAMESPACE"] = "1"
        os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", sys.executable, os.path.abspath(__file__),
                              "--binary", binary])
    lines = instructions(os.path.join(FOLDER, "Containerfile"))
    said = {name: rest for name, rest in lines}
    user, group = said["USER"].split(":")
    entry = json.loads(said["ENTRYPOINT"])
    health = json.loads(said["HEALTHCHECK"].split(" CMD ", 1)[1])
    init = [rest for name, rest in lines if name == "RUN" and "pillarbox init" in rest]
    expect("lines with init", len(init), 1)
    against_compose(said, said["USER"], health)
    print("compose.yaml and Containerfile say the same")

    with tempfile.TemporaryDirectory() as work:
        root = os.path.join(work, "root")
        os.makedirs(root + "/etc/pillarbox")
        os.chmod(work, 0o755)
        put(root, entry[0], binary)
        put(root, "/bin/sh", "/bin/dash")
        for program in ("/usr/bin/grep", "/usr/bin/mkdir", "/usr/bin/setpriv"):
            put(root, program)
        with open(root + "/etc/passwd", "w", encoding="utf-8") as file:
            file.write(f"root:x:0:0::/:/bin/sh\npillarbox:x:{user}:{group}::/:/bin/sh\n")
        with open(root + "/etc/group", "w", encoding="utf-8") as file:
            file.write(f"root:x:0:\npillarbox:x:{group}:\n")
        subprocess.run(["chroot", root, "/bin/sh", "-c", f"PATH=/usr/bin:/bin; {init[0]}"], check=True)

        sink = subprocess.Popen([binary, "catch", "--listen", "127.0.0.1:0", "--store", work + "/caught"],
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        port = next(re.search(r"127\.0\.0\.1:(\d+)", line) for line in sink.stdout if "127.0.0.1:" in line).group(1)
        with open(root + "/etc/pillarbox/pillarbox.toml", "w", encoding="utf-8") as file:
            file.write(f'[identity]\nhostname = "c.example.com"\n[[smarthost]]\nurl = "smtp://127.0.0.1:{port}"\ntls = "none"\n')

        # The image is read-only, the volume is not.
        volume = os.path.join(work, "volume")
        shutil.move(root + said["VOLUME"], volume)
        os.mkdir(root + said["VOLUME"])
        subprocess.run(["mount", "--bind", root, root], check=True)
        subprocess.run(["mount", "--bind", volume, root + said["VOLUME"]], check=True)
        subprocess.run(["mount", "-o", "remount,ro,bind", root], check=True)

        def inside(command):
            # What takes the rights away has to have them to enter the root: it lies in it.
            return ["chroot", root, "/usr/bin/setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups",
                    "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", *command]

        def healthy():
            return subprocess.run(inside(health), stdout=subprocess.DEVNULL).returncode == 0

        writes = subprocess.run(inside(["/bin/sh", "-c", "echo > /etc/x"]), stderr=subprocess.DEVNULL).returncode
        if writes == 0:
            sys.exit("the root is not read-only")
        expect("health without the service", healthy(), False)
        service = subprocess.Popen(inside(entry + json.loads(said["CMD"])))
        try:
            wait("the health check to hold", healthy)
            print("the health check holds, and did not before")
            drop = os.path.join(volume, "pickup", ".door")
            write = f"umask 027; printf 'From: a@example.com\\nTo: b@example.com\\nSubject: door\\n\\nopen\\n' > {drop} && mv {drop} {drop[:-5]}door.eml"
            subprocess.run(["setpriv", "--reuid=10099", f"--regid={group}", "--clear-groups", "/bin/sh", "-c", write], check=True)
            wait("the message to arrive", lambda: os.path.exists(work + "/caught/000001.eml"))
            with open(work + "/caught/000001.eml", encoding="utf-8") as file:
                expect("subject", "Subject: door" in file.read(), True)
            print("a message that another container's user dropped has arrived")
            service.send_signal(getattr(signal, said["STOPSIGNAL"]))
            expect("exit code after STOPSIGNAL", service.wait(LIMIT), 0)
            expect("health after it", healthy(), False)
            service = subprocess.Popen(inside(entry + json.loads(said["CMD"])))
            wait("the health check to hold again", healthy)
            service.kill()
            service.wait()
            expect("health after kill -9", healthy(), False)
            print("it stops when it is told to, and a killed one is not healthy")
        finally:
            service.kill()
            sink.kill()
            service.wait()
            subprocess.run(["umount", "-R", root], check=True)


main()
