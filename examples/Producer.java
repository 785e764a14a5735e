// Drops a message into a pillarbox spool: java Producer.java SPOOL TO SUBJECT < body
// Exit 0: it is on the disk, and will be sent. 75: try again later.
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.UUID;

public class Producer {
    static void drop(Path spool, String to, String subject, InputStream body) throws IOException, InterruptedException {
        // A name that nobody else takes: the time, this process, something random.
        String name = System.currentTimeMillis() + "-" + ProcessHandle.current().pid() + "-" + UUID.randomUUID();
        Path pickup = spool.resolve("pickup");
        // What begins with a dot is not looked at.
        Path temporary = pickup.resolve("." + name + ".tmp");
        // CREATE_NEW: never another one's file.
        FileChannel file = FileChannel.open(temporary, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE);
        try {
            try (file) {
                // Whatever the umask, the service can read it: it is of the folder's group.
                Files.setPosixFilePermissions(temporary, PosixFilePermissions.fromString("rw-r-----"));
                String head = "To: " + to + "\nSubject: " + subject + "\n\n";
                write(file, head.getBytes(StandardCharsets.UTF_8));
                byte[] piece = new byte[65536];
                for (int read; (read = body.read(piece)) >= 0;) {
                    write(file, java.util.Arrays.copyOf(piece, read));
                }
                // The text before the name: a power cut must not leave an empty message.
                file.force(true);
            }
            // From here on it is a message, whole or not at all.
            Files.move(temporary, pickup.resolve(name + ".eml"), StandardCopyOption.ATOMIC_MOVE);
        } catch (IOException | RuntimeException error) {
            Files.deleteIfExists(temporary);
            throw error;
        }
        try (FileChannel folder = FileChannel.open(pickup, StandardOpenOption.READ)) {
            folder.force(true);
        } catch (AccessDeniedException denied) {
            // Members of the group may not open the folder: then everything is synced.
            if (new ProcessBuilder("sync").inheritIO().start().waitFor() != 0) throw denied;
        }
    }

    static void write(FileChannel file, byte[] bytes) throws IOException {
        for (ByteBuffer rest = ByteBuffer.wrap(bytes); rest.hasRemaining();) file.write(rest);
    }

    public static void main(String[] args) throws InterruptedException {
        // A line end in one of them would begin another field of the header.
        if (args.length != 3 || (args[1] + args[2]).matches("(?s).*[\r\n].*")) {
            System.err.println("usage: Producer SPOOL TO SUBJECT < body (one line each)");
            System.exit(64);
        }
        try {
            drop(Path.of(args[0]), args[1], args[2], System.in);
        } catch (IOException | RuntimeException error) {
            System.err.println("Producer: " + error);
            System.exit(75);
        }
    }
}
