// What SmtpClient of Mono writes into a SpecifiedPickupDirectory (make-dotnet.sh): mono.eml is such a file.
using System.Net.Mail;

class Drop {
    static void Main(string[] args) {
        var message = new MailMessage("panel@example.com", "ops@example.com", "dots", ".one dot\r\n..two dots\r\n.\r\nend\r\n");
        message.BodyEncoding = System.Text.Encoding.ASCII;
        var client = new SmtpClient();
        client.DeliveryMethod = SmtpDeliveryMethod.SpecifiedPickupDirectory;
        client.PickupDirectoryLocation = args[0];
        client.Send(message);
    }
}
