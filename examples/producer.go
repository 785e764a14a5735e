// Drops a message into a pillarbox spool: go run producer.go SPOOL TO SUBJECT < body
// Exit 0: it is on the disk, and will be sent. 75: try again later.
package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func drop(spool, to, subject string, body io.Reader) (err error) {
	random := make([]byte, 4)
	if _, err = rand.Read(random); err != nil {
		return err
	}
	// A name that nobody else takes: the time, this process, something random.
	name := fmt.Sprintf("%d-%d-%x", time.Now().UnixNano(), os.Getpid(), random)
	pickup := filepath.Join(spool, "pickup")
	// What begins with a dot is not looked at.
	temporary := filepath.Join(pickup, "."+name+".tmp")
	// Never another one's file.
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(temporary)
		}
	}()
	// Whatever the umask, the service can read it: it is of the folder's group.
	err = file.Chmod(0o640)
	if err == nil {
		_, err = fmt.Fprintf(file, "To: %s\nSubject: %s\n\n", to, subject)
	}
	if err == nil {
		_, err = io.Copy(file, body)
	}
	if err == nil {
		// The text before the name: a power cut must not leave an empty message.
		err = file.Sync()
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	// From here on it is a message, whole or not at all.
	if err = os.Rename(temporary, filepath.Join(pickup, name+".eml")); err != nil {
		return err
	}
	return syncFolder(pickup)
}

// Makes the name outlive a power cut.
func syncFolder(path string) error {
	folder, err := os.Open(path)
	if errors.Is(err, fs.ErrPermission) {
		syscall.Sync() // Members of the group may not open the folder: then everything is synced.
		return nil
	}
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}

func main() {
	// A line end in one of them would begin another field of the header.
	if len(os.Args) != 4 || strings.ContainsAny(os.Args[2]+os.Args[3], "\r\n") {
		fmt.Fprintln(os.Stderr, "usage: producer SPOOL TO SUBJECT < body (one line each)")
		os.Exit(64)
	}
	if err := drop(os.Args[1], os.Args[2], os.Args[3], os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "producer:", err)
		os.Exit(75)
	}
}
