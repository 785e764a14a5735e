// Drops a message into a pillarbox spool: Producer SPOOL TO SUBJECT < body      (.NET on Linux, or Mono)
// Exit 0: it is on the disk, and will be sent. 75: try again later.
using System;
using System.Diagnostics;
using System.IO;
using System.Runtime.InteropServices;
using System.Text;

static class Producer
{
    // What .NET has no call for, or (fsync, on Mono) one that does not say that it failed.
    [DllImport("libc", SetLastError = true)] static extern int fchmod(int file, uint mode);
    [DllImport("libc", SetLastError = true)] static extern int fsync(int file);
    [DllImport("libc", SetLastError = true)] static extern int rename(byte[] from, byte[] to);
    [DllImport("libc")] static extern void sync();

    static void Check(int result, string what)
    {
        if (result != 0) throw new IOException("cannot " + what + ": error " + Marshal.GetLastWin32Error());
    }

    static byte[] Name(string path) { return Encoding.UTF8.GetBytes(path + "\0"); }

    static void Drop(string spool, string to, string subject, Stream body)
    {
        // A name that nobody else takes: the time, this process, something random.
        var name = DateTime.UtcNow.Ticks + "-" + Process.GetCurrentProcess().Id + "-" + Guid.NewGuid().ToString("N");
        var pickup = Path.Combine(spool, "pickup");
        // What begins with a dot is not looked at.
        var temporary = Path.Combine(pickup, "." + name + ".tmp");
        // CreateNew: never another one's file.
        var file = new FileStream(temporary, FileMode.CreateNew, FileAccess.Write, FileShare.Read);
        try
        {
            using (file)
            {
                // Whatever the umask, the service can read it: it is of the folder's group. (0640)
                var number = (int)file.SafeFileHandle.DangerousGetHandle();
                Check(fchmod(number, 416), "change the mode of " + temporary);
                var head = Encoding.UTF8.GetBytes("To: " + to + "\nSubject: " + subject + "\n\n");
                file.Write(head, 0, head.Length);
                body.CopyTo(file);
                file.Flush();
                // The text before the name: a power cut must not leave an empty message.
                Check(fsync(number), "sync " + temporary);
            }
            // From here on it is a message, whole or not at all.
            Check(rename(Name(temporary), Name(Path.Combine(pickup, name + ".eml"))), "rename " + temporary);
        }
        catch
        {
            File.Delete(temporary);
            throw;
        }
        // .NET cannot open a folder to sync it: everything is synced, which makes the name outlive a power cut.
        sync();
    }

    static int Main(string[] args)
    {
        // A line end in one of them would begin another field of the header.
        if (args.Length != 3 || (args[1] + args[2]).IndexOfAny(new[] { '\r', '\n' }) >= 0)
        {
            Console.Error.WriteLine("usage: Producer SPOOL TO SUBJECT < body (one line each)");
            return 64;
        }
        try
        {
            Drop(args[0], args[1], args[2], Console.OpenStandardInput());
            return 0;
        }
        catch (Exception error) when (error is IOException || error is UnauthorizedAccessException)
        {
            Console.Error.WriteLine("Producer: " + error.Message);
            return 75;
        }
    }
}
