#!/usr/bin/env node
// Drops a message into a pillarbox spool: node producer.js SPOOL TO SUBJECT < body
// Exit 0: it is on the disk, and will be sent. 75: try again later.
"use strict";
const { execFileSync } = require("node:child_process");
const crypto = require("node:crypto");
const fs = require("node:fs");
const path = require("node:path");

function drop(spool, to, subject, body) {
  // A name that nobody else takes: the time, this process, something random.
  const name = `${Date.now()}-${process.pid}-${crypto.randomBytes(4).toString("hex")}`;
  const pickup = path.join(spool, "pickup");
  // What begins with a dot is not looked at.
  const temporary = path.join(pickup, `.${name}.tmp`);
  // "x": never another one's file.
  const fd = fs.openSync(temporary, "wx", 0o640);
  try {
    try {
      // Whatever the umask, the service can read it: it is of the folder's group.
      fs.fchmodSync(fd, 0o640);
      // Given a descriptor, writeFileSync goes on where the last one ended, and writes all of it.
      fs.writeFileSync(fd, `To: ${to}\nSubject: ${subject}\n\n`);
      fs.writeFileSync(fd, body);
      // The text before the name: a power cut must not leave an empty message.
      fs.fsyncSync(fd);
    } finally {
      fs.closeSync(fd);
    }
    // From here on it is a message, whole or not at all.
    fs.renameSync(temporary, path.join(pickup, `${name}.eml`));
  } catch (error) {
    fs.rmSync(temporary, { force: true });
    throw error;
  }
  let directory;
  try {
    directory = fs.openSync(pickup, "r");
  } catch (error) {
    if (error.code !== "EACCES") throw error;
    execFileSync("sync"); // Members of the group may not open the folder: then everything is synced.
    return;
  }
  fs.fsyncSync(directory);
  fs.closeSync(directory);
}

const [spool, to, subject, ...rest] = process.argv.slice(2);
// A line end in one of them would begin another field of the header.
if (subject === undefined || rest.length > 0 || /[\r\n]/.test(to + subject)) {
  console.error("usage: producer.js SPOOL TO SUBJECT < body (one line each)");
  process.exit(64);
}
try {
  drop(spool, to, subject, fs.readFileSync(0));
} catch (error) {
  console.error(`producer.js: ${error.message}`);
  process.exit(75);
}
