/* Drops a message into a pillarbox spool: producer SPOOL TO SUBJECT < body      (cc -o producer producer.c)
 * Exit 0: it is on the disk, and will be sent. 75: try again later. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int fail(const char *doing) {
    fprintf(stderr, "producer: cannot %s: %s\n", doing, strerror(errno));
    return 75;
}

/* All of it: write(2) may take less, and a signal may come between. */
static int write_all(int file, const char *bytes, size_t left) {
    while (left > 0) {
        ssize_t written = write(file, bytes, left);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return -1;
        bytes += written, left -= (size_t)written;
    }
    return 0;
}

static int write_message(int file, const char *to, const char *subject) {
    char piece[65536];
    if (dprintf(file, "To: %s\nSubject: %s\n\n", to, subject) < 0) return -1;
    for (;;) {
        ssize_t got = read(STDIN_FILENO, piece, sizeof piece);
        if (got == 0) return 0;
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 || write_all(file, piece, (size_t)got) < 0) return -1;
    }
}

int main(int argc, char **argv) {
    /* A line end in one of them would begin another field of the header. */
    if (argc != 4 || strpbrk(argv[2], "\r\n") || strpbrk(argv[3], "\r\n")) {
        fputs("usage: producer SPOOL TO SUBJECT < body (one line each)\n", stderr);
        return 64;
    }
    /* A name that nobody else takes: the time, this process, something random. A dot in front: not looked at. */
    char temporary[96], name[96];
    unsigned int random;
    struct timespec now;
    if (getrandom(&random, sizeof random, 0) != sizeof random || clock_gettime(CLOCK_REALTIME, &now) < 0) return fail("make a name");
    snprintf(name, sizeof name, "%lld.%09ld-%d-%08x", (long long)now.tv_sec, now.tv_nsec, (int)getpid(), random);
    for (char *dot = name; (dot = strchr(dot, '.'));) *dot = '-';
    snprintf(temporary, sizeof temporary, ".%.80s.tmp", name);
    strcat(name, ".eml");

    /* O_PATH: members of the group may go through the folder, and not read it. */
    int spool = open(argv[1], O_PATH | O_DIRECTORY | O_CLOEXEC);
    int pickup = spool < 0 ? -1 : openat(spool, "pickup", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (pickup < 0) return fail("open the folder");
    /* O_EXCL: never another one's file. */
    int file = openat(pickup, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    if (file < 0) return fail("make a file");
    /* Whatever the umask, the service can read it: it is of the folder's group. Then the text before the name: a power cut
     * must not leave an empty message. From the rename on it is a message, whole or not at all. */
    const char *doing = "change the mode";
    if (fchmod(file, 0640) < 0 || (doing = "write", write_message(file, argv[2], argv[3])) < 0
        || (doing = "sync", fsync(file)) < 0 || (doing = "rename", renameat(pickup, temporary, pickup, name)) < 0) {
        int code = fail(doing);
        unlinkat(pickup, temporary, 0);
        return code;
    }
    /* The name. Where the folder may not be opened, its whole filesystem is synced; a producer's own file leads there. */
    int folder = openat(pickup, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0 && errno != EACCES) return fail("open the folder");
    if ((folder < 0 ? syncfs(file) : fsync(folder)) < 0) return fail("sync the folder");
    return 0;
}
