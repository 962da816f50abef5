import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.InetAddress;
import java.net.UnknownHostException;

/** Looks up names, one a line of its input: prints the name and its addresses, or "-". */
public class Lookup {
    public static void main(String[] arguments) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String name; (name = lines.readLine()) != null; ) {
            StringBuilder line = new StringBuilder(name);
            try {
                for (InetAddress address : InetAddress.getAllByName(name)) {
                    line.append(' ').append(address.getHostAddress());
                }
            } catch (UnknownHostException unknown) {
                line.append(" -");
            }
            System.out.println(line);
        }
    }
}
