// nodemailer's smtp-server, with TLS and logins, that writes down what it takes: the record is that of receive.py.
//
//     NODE_PATH=.../node_modules node receive.cjs SETTINGS        until it is killed; prints "ready" when it listens

const fs = require('node:fs');
const { SMTPServer } = require('smtp-server');

const settings = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'));
const record = fs.openSync(settings.record, 'a');
const write = entry => fs.writeSync(record, JSON.stringify(entry) + '\n');

function onAuth(auth, session, callback) {
    const proven = {
        'CRAM-MD5': () => auth.validatePassword(settings.password),
        XOAUTH2: () => auth.accessToken === settings.password
    }[auth.method] || (() => auth.password === settings.password);
    if (auth.username !== settings.user || !proven()) {
        return callback(null, { data: { status: '401', schemes: 'bearer' } });
    }
    write({ login: auth.method });
    callback(null, { user: auth.username });
}

function onData(stream, session, callback) {
    const parts = [];
    stream.on('data', part => parts.push(part));
    stream.on('end', () => {
        write({
            reverse_path: session.envelope.mailFrom.address,
            forward_paths: session.envelope.rcptTo.map(to => to.address),
            content: Buffer.concat(parts).toString('base64')
        });
        callback(null, 'taken');
    });
}

const common = {
    name: 'smarthost.example.com',
    key: fs.readFileSync(settings.key),
    cert: fs.readFileSync(settings.cert),
    authMethods: ['PLAIN', 'LOGIN', 'CRAM-MD5', 'XOAUTH2'],
    disableReverseLookup: true,
    onAuth,
    onData
};
const servers = {
    plain: new SMTPServer({ ...common, disabledCommands: ['AUTH', 'STARTTLS'], authOptional: true }),
    starttls: new SMTPServer(common),
    smtps: new SMTPServer({ ...common, secure: true })
};

let waiting = Object.keys(servers).length;
for (const [name, server] of Object.entries(servers)) {
    // A client that does not trust the certificate breaks off: that is one of the checks.
    server.on('error', error => console.error(`${name}: ${error.message}`));
    server.listen(settings.ports[name], '127.0.0.1', () => {
        waiting -= 1;
        if (waiting === 0) console.log('ready');
    });
}
