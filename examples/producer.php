<?php
// Drops a message into a pillarbox spool: php producer.php SPOOL TO SUBJECT < body      (PHP 8.1 or later: fsync)
// Exit 0: it is on the disk, and will be sent. 75: try again later.
declare(strict_types=1);

// A warning is an error here: nothing goes on half done.
set_error_handler(function (int $level, string $message): bool {
    throw new RuntimeException($message);
});

function check(bool $done, string $what): void
{
    $done || throw new RuntimeException("cannot $what");
}

function drop(string $spool, string $to, string $subject, $body): void
{
    // A name that nobody else takes: the time, this process, something random.
    $name = hrtime(true) . '-' . time() . '-' . getmypid() . '-' . bin2hex(random_bytes(4));
    // What begins with a dot is not looked at.
    $temporary = "$spool/pickup/.$name.tmp";
    // "x": never another one's file.
    $file = fopen($temporary, 'x');
    try {
        // Whatever the umask, the service can read it: it is of the folder's group. (PHP has no fchmod.)
        check(chmod($temporary, 0640), "change the mode of $temporary");
        $head = "To: $to\nSubject: $subject\n\n";
        check(fwrite($file, $head) === strlen($head), "write $temporary");
        check(stream_copy_to_stream($body, $file) !== false, "write $temporary");
        // The text before the name: a power cut must not leave an empty message. It flushes first.
        check(fsync($file), "sync $temporary");
        check(fclose($file), "close $temporary");
        // From here on it is a message, whole or not at all.
        check(rename($temporary, "$spool/pickup/$name.eml"), "rename $temporary");
    } catch (Throwable $error) {
        unlink($temporary);
        throw $error;
    }
    // PHP cannot sync a folder: sync(1) does, and syncs everything where the folder may not be opened.
    exec('sync ' . escapeshellarg("$spool/pickup") . ' 2>/dev/null || sync', result_code: $code);
    check($code === 0, 'sync the folder');
}

// A line end in one of them would begin another field of the header.
if ($argc !== 4 || strpbrk($argv[2] . $argv[3], "\r\n") !== false) {
    fwrite(STDERR, "usage: producer.php SPOOL TO SUBJECT < body (one line each)\n");
    exit(64);
}
try {
    drop($argv[1], $argv[2], $argv[3], STDIN);
} catch (Throwable $error) {
    fwrite(STDERR, "producer.php: {$error->getMessage()}\n");
    exit(75);
}
